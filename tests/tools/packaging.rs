//! What is packaged with the binary says what the binary does. `packaging/check` has the rest, which needs
//! tools.

use kit::scratch::File;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Nobody else reads it, as in the package.
fn close(path: &std::path::Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("set");
}

fn check(file: &str, text: &str) {
    let file = File::new(file, text);
    close(&file.0);
    let output = kit::newswire()
        .args(["check", "--config"])
        .arg(&file.0)
        .output()
        .expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}: {err}");
    assert_eq!(err, "", "{text}");
}

#[test]
fn the_example_configuration_is_right_and_so_is_each_of_its_examples() {
    let text = fs::read_to_string("packaging/newswire.toml").expect("it is there");
    check("example.toml", &text);
    let examples: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    assert!(examples.len() > 5, "{examples:?}");
    // The file of tokens that they name is there on a machine where it is used.
    let tokens = File::new("tokens", "a-token topics=news,blog_*\n");
    close(&tokens.0);
    let named = "/etc/newswire/tokens";
    let examples = examples.join("\n");
    assert!(examples.contains(named), "{examples}");
    check("examples.toml", &examples.replace(named, tokens.path()));
}

#[test]
fn the_socket_is_where_newswire_listens_by_itself() {
    let unit = fs::read_to_string("packaging/systemd/newswire.socket").expect("it is there");
    let default = newswire::config::option("listen").expect("an option");
    let line = format!("\nListenStream={}\n", default.default_text());
    assert!(unit.contains(&line), "{line}");
}

#[test]
fn the_services_command_line_is_one() {
    let unit = fs::read_to_string("packaging/systemd/newswire.service").expect("it is there");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/"))
        .expect("a command");
    newswire::cli::parse(command.split(' ').map(Into::into)).expect("it is understood");
}

/// Nobody but its user gets at what is in its memory.
#[test]
fn the_service_leaves_no_core_dump() {
    let unit = fs::read_to_string("packaging/systemd/newswire.service").expect("it is there");
    assert!(unit.lines().any(|line| line == "LimitCORE=0"), "{unit}");
}
