//! After a restart all clients reconnect in the same second, and all are let in.

use std::time::Duration;

use kit::{PATIENCE, Server, TOKEN};
use newswire::cli::load::fleet::{Course, Fleet, FleetEvent};

/// A process here may open 20,000 files.
const HERD: usize = 15_000;

#[test]
#[ignore = "needs 15,000 descriptors on each side; ulimit -n has to allow that"]
fn a_herd_is_served_and_events_go_on_leaving() {
    let server = Server::start(&[]);
    let mut early = server.subscriber(&["early"]);
    let (_context, publisher) = server.publisher();
    let request = format!(
        "GET /?token={TOKEN} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let mut fleet = Fleet::new(Course {
        address: server.address,
        request: request.into_bytes(),
        topics: vec!["herd".to_owned()],
    })
    .expect("a poller");
    let (mut welcomed, mut published, mut heard_while_herding) = (0, 0, 0);
    // As many as the kernel's queue holds are under way at a time; a browser whose SYN was dropped
    // would be a second late.
    while welcomed < HERD {
        while fleet.len() < HERD && fleet.len() < welcomed + 2_000 {
            fleet.add().expect("a socket");
        }
        publisher
            .send(&format!(r#"{{"topic":"early","data":{published}}}"#), 0)
            .expect("sent");
        published += 1;
        fleet
            .poll(Some(PATIENCE), |_, what| match what {
                FleetEvent::Text(..) => welcomed += 1,
                FleetEvent::Opened => {}
                FleetEvent::Ended(status) => panic!("one of the herd was turned away: {status:?}"),
            })
            .expect("polled");
        // One that is there already hears what is published meanwhile, in order.
        assert_eq!(
            early.text(),
            format!(r#"[8,"early",{heard_while_herding}]"#)
        );
        heard_while_herding += 1;
    }
    publisher
        .send(r#"{"topic":"herd","data":"x"}"#, 0)
        .expect("sent");
    let mut reached = 0;
    while reached < HERD {
        fleet
            .poll(Some(Duration::from_secs(30)), |_, what| {
                assert!(matches!(what, FleetEvent::Text(..)), "{what:?}");
                reached += 1;
            })
            .expect("polled");
    }
    assert_eq!(published, heard_while_herding);
    drop(fleet);
    let summary = server.stop();
    assert!(
        summary.contains(&format!("handshakes={}", HERD + 1)),
        "{summary}"
    );
}
