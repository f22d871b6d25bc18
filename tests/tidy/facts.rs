//! What the project says of itself outside its sources: the README, the examples' index, the list of tests.

use crate::source::{exists, read, rust};

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
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "CHANGELOG.md"] {
        assert!(exists(file), "{file} is missing");
    }
    assert!(
        read("CHANGELOG.md").contains("\n## Unreleased\n"),
        "CHANGELOG.md has no Unreleased section"
    );
}
