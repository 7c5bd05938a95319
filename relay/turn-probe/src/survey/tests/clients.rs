//! What clients do, and what a survey makes of it.

use std::ops::Range;

use super::*;
use crate::{
    clients::{ClientCounts, ListenerClients},
    sign::SignKind,
};

/// So many clients of each listener since a relay's start.
fn clients(udp: u64, tcp: u64) -> ClientCounts {
    let of = |name: &str, transport, count| ListenerClients {
        name: name.to_owned(),
        transport,
        bindings: 0,
        challenged: count,
        wrong_credentials: 0,
        refused: 0,
        allocated: count,
    };
    let listeners = vec![of("udp", Transport::Udp, udp), of("tcp", Transport::Tcp, tcp)];
    ClientCounts { listeners, ..ClientCounts::default() }
}

/// In the minutes since the start, clients have come to both relays, and to the first one's UDP port
/// until `closed`.
fn tell_clients(scene: &mut Scene, minute: u64, closed: u64) {
    let busy = minute * 2;
    for (relay, udp) in [("relay-1", minute.min(closed) * 2), ("relay-2", busy)] {
        let taken = scene.survey.record_clients(&relay.into(), &clients(udp, busy), scene.now);
        assert_eq!(taken, Ok(()));
    }
}

/// What is told in each minute.
fn clients_come(
    scene: &mut Scene,
    minutes: Range<u64>,
    closed: u64,
    world: &World<'_>,
) -> Vec<Verdict> {
    let tell = |minute| {
        tell_clients(scene, minute, closed);
        scene.pass(60, 0, world)
    };
    minutes.map(tell).collect()
}

#[test]
fn what_clients_do_takes_no_relay_out_and_has_it_probed_at_once() {
    let mut scene = Scene::new(fleet(2, outside()));
    scene.pass(20, 0, &all_well);
    let told = clients_come(&mut scene, 0..58, 50, &all_well);
    assert!(told.iter().all(|verdict| verdict.signs.is_empty()));
    let verdict = (58 * 240..70 * 240)
        .map(|quarter| {
            if quarter % 60 == 0 {
                tell_clients(&mut scene, quarter / 240, 50);
            }
            scene.step(0, &all_well)
        })
        .find(|verdict| !verdict.signs.is_empty())
        .expect("a sign");
    let [sign] = &*verdict.signs else { panic!("{:?}", verdict.signs) };
    assert_eq!(sign.kind, SignKind::ListenerFellSilent);
    assert_eq!((reached(&verdict), admitted(&verdict)), (vec![Some(true); 2], vec![true; 2]));
    // All that was due has been done.
    let orders = scene.survey.due(&"outside".into(), scene.now);
    let [Order { subject, .. }] = &*orders else { panic!("{orders:?}") };
    assert_eq!((&*subject.relay, &*subject.listener), ("relay-1", "udp"));
}

#[test]
fn of_a_relay_that_clients_are_not_sent_to_silence_is_no_sign() {
    let mut scene = Scene::new(fleet(2, outside()));
    scene.pass(20, 0, &all_well);
    let let_out = |_: &str, relay: &str, _| (relay == "relay-1").then_some(Fault::Silence);
    clients_come(&mut scene, 0..50, 50, &all_well);
    let told = clients_come(&mut scene, 50..80, 50, &let_out);
    assert_eq!(admitted(&told[29]), [false, true]);
    assert!(told.iter().all(|verdict| verdict.signs.is_empty()));
    let told = clients_come(&mut scene, 80..100, 50, &all_well);
    assert!(told.iter().all(|verdict| verdict.signs.is_empty()), "nor is what was then");
}

#[test]
fn counts_of_no_relay_or_that_none_has_are_refused() {
    let mut scene = Scene::new(fleet(1, outside()));
    let mut record = |relay: &str, counts: &ClientCounts| {
        scene.survey.record_clients(&relay.into(), counts, scene.now)
    };
    assert_eq!(record("relay-1", &clients(1, 1)), Ok(()));
    assert_eq!(record("stranger", &clients(1, 1)), Err(Refused::NotAwaited));
    let mut many = clients(1, 1);
    many.listeners = vec![many.listeners[0].clone(); 257];
    assert_eq!(record("relay-1", &many), Err(Refused::Implausible));
}
