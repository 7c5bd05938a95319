//! Ethernet frames with one UDP datagram over IPv4 in each.
//!
//! The load generator writes and reads whole frames: its clients and peers are addresses without a
//! network stack behind them, so that a datagram costs it a copy and no more.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The length of an Ethernet header, in bytes.
const ETHERNET_LEN: usize = 14;
/// The length of an IPv4 header without options, in bytes.
const IP_LEN: usize = 20;
/// The length of a UDP header, in bytes.
const UDP_LEN: usize = 8;
/// What stands before the payload, in bytes.
pub(crate) const HEAD_LEN: usize = ETHERNET_LEN + IP_LEN + UDP_LEN;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const PROTOCOL_UDP: u8 = 17;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// What was in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    /// Who sent it.
    pub(crate) from: SocketAddrV4,
    /// For whom it is.
    pub(crate) to: SocketAddrV4,
    /// As much of the payload as the frame has.
    pub(crate) payload: &'a [u8],
}

/// The frame of a datagram. Its UDP checksum is zero, which means none: the server need not verify
/// it, as it need not where a network card has done so.
pub(crate) fn encode(
    macs: (Mac, Mac),
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = macs;
    let mut frame = Vec::with_capacity(HEAD_LEN + payload.len());
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&ETHERTYPE_IPV4);
    frame.extend_from_slice(&ip_header(*from.ip(), *to.ip(), payload.len()));
    frame.extend_from_slice(&from.port().to_be_bytes());
    frame.extend_from_slice(&to.port().to_be_bytes());
    frame.extend_from_slice(&length(UDP_LEN + payload.len()));
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    frame
}

/// What is in a frame; `None` unless it is UDP over IPv4 without options. The frame may be cut.
pub(crate) fn decode(frame: &[u8]) -> Option<Datagram<'_>> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET_LEN)?;
    let (ip, segment) = packet.split_at_checked(IP_LEN)?;
    let (udp, payload) = segment.split_at_checked(UDP_LEN)?;
    if ethernet[12..] != ETHERTYPE_IPV4 || ip[0] != 0x45 || ip[9] != PROTOCOL_UDP {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let field = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let len = usize::from(field(4)).checked_sub(UDP_LEN)?;
    Some(Datagram {
        from: SocketAddrV4::new(address(12), field(0)),
        to: SocketAddrV4::new(address(16), field(2)),
        payload: &payload[..len.min(payload.len())],
    })
}

fn ip_header(from: Ipv4Addr, to: Ipv4Addr, payload_len: usize) -> [u8; IP_LEN] {
    let mut header = [0; IP_LEN];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length(IP_LEN + UDP_LEN + payload_len));
    // Do not fragment.
    header[6] = 0x40;
    header[8] = 64;
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let checksum = checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// A length field. The command line keeps payloads far below 64 KiB.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// RFC 1071, over a header with a zero checksum.
fn checksum(header: &[u8; IP_LEN]) -> u16 {
    let (words, _) = header.as_chunks::<2>();
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_carries_what_was_put_into_it() {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 99, 1, 2), 20_000);
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 99, 1, 1), 3478);
        let frame = encode(([2; 6], [4; 6]), from, to, b"payload");
        assert_eq!(decode(&frame), Some(Datagram { from, to, payload: b"payload" }));
        let cut = decode(&frame[..HEAD_LEN + 3]).expect("the header is there");
        assert_eq!(cut.payload, b"pay");
        assert_eq!(decode(&frame[..HEAD_LEN - 1]), None);
    }

    #[test]
    fn the_checksum_of_a_header_with_its_checksum_is_zero() {
        let header = ip_header(Ipv4Addr::new(10, 99, 1, 2), Ipv4Addr::new(10, 99, 2, 1), 164);
        assert_eq!(checksum(&header), 0);
    }
}
