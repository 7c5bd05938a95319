//! A client that is sent anything.

use std::time::{Duration, Instant};

use turn_client::{Client, Config, Credentials, Profile, Transport};

/// What a server, or who says it is one, sends a client: a length and so many bytes, again and
/// again. The client's own requests are at hand, so that an answer can fit.
pub fn client(bytes: &[u8]) {
    let mut now = Instant::now();
    let mut client = Client::new(Config {
        server: ([192, 0, 2, 1], 3478).into(),
        transport: Transport::Udp,
        credentials: Credentials::new("name".to_owned(), "password".to_owned()).expect("short"),
        profile: Profile::LIBWEBRTC,
        seed: [7; 32],
    });
    client.allocate(now, None, None).expect("the first");
    let mut rest = bytes;
    while let Some(([len, flags], behind)) = rest.split_first_chunk() {
        let (message, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = behind;
        let id: Option<[u8; 12]> =
            client.poll_transmit().and_then(|sent| sent.get(8..20)?.try_into().ok());
        let message = fitted(message, id.filter(|_| flags & 1 == 1));
        let _input = client.handle_input(now, &message);
        while client.poll_event().is_some() {}
        now += Duration::from_millis(u64::from(*flags) * 100);
        client.handle_timeout(now);
        assert!(client.poll_timeout().is_none_or(|due| due > now));
    }
}

/// A message with the transaction id of a request.
fn fitted(message: &[u8], id: Option<[u8; 12]>) -> Vec<u8> {
    let mut message = message.to_vec();
    if let (Some(id), Some(place)) = (id, message.get_mut(8..20)) {
        place.copy_from_slice(&id);
    }
    message
}
