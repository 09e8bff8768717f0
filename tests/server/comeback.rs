//! The server is killed and starts again: its clients reconnect.

use std::process::Stdio;

use kit::port::Place;
use kit::{Server, TOKEN, wait_until};

const CLIENTS: u64 = 10_000;

#[test]
#[ignore = "needs 10,000 descriptors on each side, and half a minute"]
fn after_kill_9_and_a_restart_all_clients_are_back() {
    let place = Place::hold();
    let first = place.start(&[]);
    let (address, pull) = (first.address, &first.pull);
    let load = kit::newswire()
        .arg("load")
        .arg(format!("ws://{address}/?token={TOKEN}"))
        .args(["--to", pull, "--json", "--rate", "2", "--duration", "15"])
        .args(["--connections", &CLIENTS.to_string(), "--reconnect", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let summary = |server: &Server| {
        server.signal("USR1");
        server.log()
    };
    wait_until("all are there and hear", || {
        summary(&first).contains(&format!("subscriptions={CLIENTS} "))
            && summary(&first).contains("deliveries=")
    });
    first.signal("KILL");
    assert!(!first.wait().0.success());

    let second = place.start(&[]);
    wait_until("all are back", || {
        summary(&second).contains(&format!("subscriptions={CLIENTS} "))
    });
    assert!(second.log().contains("start: listen="), "{}", second.log());

    let output = load.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["ended"], CLIENTS, "{report}");
    assert_eq!(report["returned"], CLIENTS, "{report}");
    assert_eq!(
        (&report["doubles"], &report["disorder"]),
        (&0.into(), &0.into())
    );
    second.stop();
}
