//! How much memory this process may have: what the machine has, or less where a control group says so.

use std::fs;
use std::path::Path;

use rustix::system::sysinfo;

/// Where control groups are mounted, of either version.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The control groups that this process is in.
const MEMBERSHIPS: &str = "/proc/self/cgroup";

/// What all objects may occupy unless it is said, in bytes: half of what this process may have, so that it refuses before the system kills.
pub(crate) fn half() -> u64 {
    let machine = sysinfo();
    #[allow(clippy::useless_conversion, reason = "on other machines its word is shorter")]
    let installed = u64::from(machine.totalram).saturating_mul(u64::from(machine.mem_unit));
    let memberships = fs::read_to_string(MEMBERSHIPS).unwrap_or_default();
    let allowed = cgroup_limit(Path::new(CGROUPS), &memberships).unwrap_or(u64::MAX);
    installed.min(allowed) / 2
}

/// The least limit of these control groups and those around them, if there is any. One line for each hierarchy, as in
/// `/proc/<pid>/cgroup`: its number, what it controls (in the second version nothing is said), and the group's path.
fn cgroup_limit(mounted: &Path, memberships: &str) -> Option<u64> {
    let of_membership = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (root, file) = if controllers.is_empty() {
            (mounted.to_owned(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (mounted.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        let group = root.join(path.trim_start_matches('/'));
        // A group without a limit says `max`, or a number beyond all memory.
        let limit = |group: &Path| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let groups = group.ancestors().take_while(|group| group.starts_with(&root));
        groups.filter_map(limit).min()
    };
    memberships.lines().filter_map(of_membership).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_counts() {
        let mounted = tempfile::tempdir().unwrap();
        let write = |file: &str, limit: &str| {
            let path = mounted.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, limit).unwrap();
        };
        let limit = |memberships: &str| cgroup_limit(mounted.path(), memberships);
        assert_eq!(limit("0::/app/worker\n"), None, "nobody says anything");
        write("app/worker/memory.max", "max\n");
        assert_eq!(limit("0::/app/worker\n"), None);
        write("app/memory.max", "3000000\n");
        assert_eq!(limit("0::/app/worker\n"), Some(3_000_000));
        write("app/worker/memory.max", "2000000\n");
        assert_eq!(limit("0::/app/worker\n"), Some(2_000_000));
        assert_eq!(limit("0::/app\n"), Some(3_000_000));
        write("memory/old/memory.limit_in_bytes", "1000000\n");
        assert_eq!(limit("5:cpu,cpuacct:/app\n4:memory:/old\n0::/\n"), Some(1_000_000));
        assert_eq!(limit("4:memory:/\n0::/app/worker\n"), Some(2_000_000));
        assert_eq!(limit("garbage\n::\n"), None);
    }

    #[test]
    fn half_of_what_there_is_is_more_than_nothing_and_less_than_all() {
        let info = fs::read_to_string("/proc/meminfo").unwrap();
        let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib: u64 = total.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(half() > 0 && half() <= kib * 1024 / 2 + 1);
    }
}
