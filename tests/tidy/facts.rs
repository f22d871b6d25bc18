//! What the project says of itself outside its sources: the README, the examples' index, the list of tests.

use crate::source::{all, exists, read, root, rust};

/// The two commands a newcomer needs.
const COMMANDS: [&str; 2] = ["cargo run --release --example ticket_booking", "cargo test"];

#[test]
fn the_readme_shows_the_two_commands() {
    let readme = read("README.md");
    let block = readme
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap_or_default();
    assert_eq!(
        block.trim().lines().collect::<Vec<_>>(),
        COMMANDS,
        "the first `sh` block of README.md holds exactly these"
    );
    let check = read(".ci/run");
    for command in [
        "cargo run --release --locked --example ticket_booking",
        "cargo test --locked",
    ] {
        assert!(check.contains(command), ".ci/run must run `{command}`");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents: Vec<_> = all("md").into_iter().map(|source| (source.path, source.text)).collect();
    documents.extend(["README.md", "CHANGELOG.md"].map(|path| (path.to_owned(), read(path))));
    for (path, text) in documents {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = file.is_empty() || file.contains("://") || file.contains(' ');
            assert!(
                outside || root().join(folder).join(file).exists(),
                "{path}: the link to {target} leads nowhere"
            );
        }
    }
}

#[test]
fn every_example_is_listed_and_run_by_a_test() {
    let index = read("examples/README.md");
    let runner: String = rust()
        .into_iter()
        .filter(|source| source.path.starts_with("tests/examples/"))
        .map(|source| source.text)
        .collect();
    let examples: Vec<_> = rust()
        .into_iter()
        .filter_map(|source| Some(source.path.strip_prefix("examples/")?.strip_suffix(".rs")?.to_owned()))
        .collect();
    assert!(examples.iter().any(|name| name == "ticket_booking"));
    for name in examples {
        assert!(
            index.contains(&format!("[{name}]({name}.rs)")),
            "examples/README.md does not list {name}"
        );
        assert!(
            runner.contains(&format!("\"{name}\"")),
            "no test in tests/examples/ runs {name}"
        );
    }
}

#[test]
fn every_folder_of_tests_is_a_target() {
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("autotests = false") && manifest.contains("autobenches = false"));
    for source in rust() {
        let main = source
            .path
            .strip_prefix("tests/")
            .and_then(|path| path.strip_suffix("/main.rs"));
        if let Some(name) = main.filter(|name| !name.contains('/')) {
            assert!(
                manifest.contains(&format!("path = \"tests/{name}/main.rs\"")),
                "Cargo.toml does not list tests/{name}/main.rs"
            );
        }
        let loose = source
            .path
            .strip_prefix("tests/")
            .is_some_and(|path| !path.contains('/'));
        assert!(
            !loose,
            "{}: a test lives in a folder named after what it is about",
            source.path
        );
    }
}

#[test]
fn the_licences_are_there() {
    for file in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "CHANGELOG.md",
        "proto/README.md",
        "src/README.md",
    ] {
        assert!(exists(file), "{file} is missing");
    }
    assert!(
        read("CHANGELOG.md").contains("\n## Unreleased\n"),
        "CHANGELOG.md has no Unreleased section"
    );
}
