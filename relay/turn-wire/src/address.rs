//! MAPPED-ADDRESS and its XORed kin (RFC 8489, section 14.1 and 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::header::{MAGIC_COOKIE, TransactionId};

const IPV4: u8 = 0x01;
const IPV6: u8 = 0x02;

pub(crate) const fn encoded_len(address: &SocketAddr) -> usize {
    match address {
        SocketAddr::V4(_) => 8,
        SocketAddr::V6(_) => 20,
    }
}

pub(crate) fn decode(value: &[u8]) -> Option<SocketAddr> {
    let (head, ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]);
    let ip = match (head[1], ip.len()) {
        (IPV4, 4) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        (IPV6, 16) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

pub(crate) fn encode(address: &SocketAddr, out: &mut [u8]) {
    let (head, ip) = out.split_at_mut(4);
    head[0] = 0;
    head[2..].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(v4) => {
            head[1] = IPV4;
            ip.copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            head[1] = IPV6;
            ip.copy_from_slice(&v6.octets());
        }
    }
}

/// XOR with the cookie, and for IPv6 the transaction id behind it: its own inverse. It keeps
/// address translators that rewrite addresses in payloads from finding one.
pub(crate) fn xor(address: SocketAddr, transaction: &TransactionId) -> SocketAddr {
    let cookie = MAGIC_COOKIE.to_be_bytes();
    let port = address.port() ^ u16::from_be_bytes([cookie[0], cookie[1]]);
    let ip = match address.ip() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) ^ MAGIC_COOKIE)),
        IpAddr::V6(v6) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&cookie);
            mask[4..].copy_from_slice(&transaction.0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, port)
}
