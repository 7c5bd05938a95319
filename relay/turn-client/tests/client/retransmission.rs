//! Requests are sent at the times of the tables, and given up at theirs.

use std::time::{Duration, Instant};

use turn_client::{Client, Event, Failure, Input, Operation, Profile, Transport};

use crate::server::{Server, config, events, mapped, seconds, sent};

/// When a request that is never answered is sent, and when it fails; in milliseconds.
fn times(profile: Profile, transport: Transport) -> (Vec<u128>, u128, Failure) {
    let start = Instant::now();
    let mut client = Client::new(turn_client::Config { transport, ..config(profile) });
    client.binding(start);
    let first = sent(&mut client);
    let mut times = vec![0; first.len()];
    loop {
        let at = client.poll_timeout().expect("the request is under way");
        client.handle_timeout(at - Duration::from_millis(1));
        assert!(sent(&mut client).is_empty(), "nothing before its time");
        client.handle_timeout(at);
        for again in sent(&mut client) {
            assert_eq!(again, first[0], "the same request, with the same transaction id");
            times.push((at - start).as_millis());
        }
        if let Some(event) = client.poll_event() {
            let Event::Failed { operation: Operation::Binding, failure } = event else {
                panic!("{event:?}");
            };
            assert_eq!(client.poll_timeout(), None, "nothing is under way any more");
            return (times, (at - start).as_millis(), failure);
        }
    }
}

#[test]
fn libwebrtc_over_udp() {
    let (times, end, failure) = times(Profile::LIBWEBRTC, Transport::Udp);
    assert_eq!(times, [0, 250, 750, 1_750, 3_750, 7_750, 15_750, 23_750, 31_750]);
    assert_eq!(end, 39_750);
    assert_eq!(failure, Failure::TimedOut { after: Duration::from_millis(39_750), sends: 9 });
    assert_eq!(failure.to_string(), "no answer within 39.75 s, asked 9 times");
}

#[test]
fn nicer_over_udp() {
    let (times, end, _) = times(Profile::NICER, Transport::Udp);
    assert_eq!(times, [0, 100, 300, 700, 1_500, 3_100, 6_300]);
    assert_eq!(end, 11_100);
}

#[test]
fn rfc_8489_over_udp() {
    let (times, end, _) = times(Profile::RFC, Transport::Udp);
    assert_eq!(times, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(end, 39_500);
}

#[test]
fn once_over_a_stream() {
    for (profile, expected) in
        [(Profile::LIBWEBRTC, 39_750), (Profile::NICER, 12_800), (Profile::RFC, 39_500)]
    {
        let (times, end, _) = times(profile, Transport::Stream);
        assert_eq!((times, end), (vec![0], expected));
    }
}

#[test]
fn times_that_passed_together_are_one_sending() {
    let start = Instant::now();
    let mut client = Client::new(config(Profile::LIBWEBRTC));
    client.binding(start);
    assert_eq!(sent(&mut client).len(), 1);
    client.handle_timeout(start + seconds(10));
    assert_eq!(sent(&mut client).len(), 1);
    assert_eq!(client.poll_timeout(), Some(start + Duration::from_millis(15_750)));
}

#[test]
fn a_lost_answer_is_asked_for_again_and_a_second_answer_is_dropped() {
    let start = Instant::now();
    let mut client = Client::new(config(Profile::LIBWEBRTC));
    let mut server = Server::new();
    client.binding(start);
    let request = sent(&mut client).remove(0);
    let lost = server.respond(&request);
    let at = start + Duration::from_millis(250);
    client.handle_timeout(at);
    let again = sent(&mut client).remove(0);
    let answer = server.respond(&again);
    assert_eq!(answer, lost, "the same request has the same answer");
    assert_eq!(client.handle_input(at, &answer), Input::Handled);
    assert_eq!(events(&mut client), [Event::Mapped { mapped: mapped() }]);
    let unknown = turn_client::DropReason::UnknownTransaction;
    assert_eq!(client.handle_input(at, &answer), Input::Dropped(unknown));
    assert_eq!(client.dropped().get(unknown), 1);
    assert!(events(&mut client).is_empty());
}

#[test]
fn an_answered_request_that_waits_to_be_sent_again_is_not() {
    let start = Instant::now();
    let mut client = Client::new(config(Profile::LIBWEBRTC));
    client.binding(start);
    let request = sent(&mut client).remove(0);
    let at = start + Duration::from_millis(250);
    client.handle_timeout(at);
    client.handle_input(at, &Server::new().respond(&request));
    assert!(sent(&mut client).is_empty());
}
