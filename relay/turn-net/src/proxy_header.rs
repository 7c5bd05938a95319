//! The header of the PROXY protocol, version 2 (haproxy's proxy-protocol.txt, section 2.2): whom a
//! load balancer connects for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length.
const FIXED_LEN: usize = 16;

/// The longest header that is read, in bytes: addresses take 36, and what load balancers add to them
/// some hundreds.
pub(crate) const MAX_LEN: usize = 4096;

/// The client's and the one that it connected to; `None` where the load balancer connects for
/// itself.
type Addresses = Option<(SocketAddr, SocketAddr)>;

/// What the beginning of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// A header of so many bytes.
    Complete {
        /// Its length.
        len: usize,
        /// Whom the connection is for.
        addresses: Addresses,
    },
    /// A header's beginning.
    Incomplete,
    /// Something else.
    Malformed,
}

/// Looks at the beginning of a connection.
pub(crate) fn parse(bytes: &[u8]) -> ProxyHeader {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return ProxyHeader::Malformed;
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_LEN>() else {
        return ProxyHeader::Incomplete;
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || FIXED_LEN + len > MAX_LEN {
        return ProxyHeader::Malformed;
    }
    let addresses: fn(&[u8]) -> Option<Addresses> = match (version_and_command & 0xF, family) {
        // LOCAL: whatever else it says.
        (0, _) => |_| Some(None),
        (1, 0x11) => |body| v4(body).map(Some),
        (1, 0x21) => |body| v6(body).map(Some),
        // A command that nobody knows, or no TCP: nobody to serve.
        _ => return ProxyHeader::Malformed,
    };
    let Some(body) = rest.get(..len) else { return ProxyHeader::Incomplete };
    let Some(addresses) = addresses(body) else { return ProxyHeader::Malformed };
    ProxyHeader::Complete { len: FIXED_LEN + len, addresses }
}

fn v4(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (from, to) = ports(rest)?;
    let ip = |bytes: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*bytes));
    Some((SocketAddr::new(ip(source), from), SocketAddr::new(ip(destination), to)))
}

fn v6(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (from, to) = ports(rest)?;
    let ip = |bytes: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical();
    Some((SocketAddr::new(ip(source), from), SocketAddr::new(ip(destination), to)))
}

fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let (source, rest) = bytes.split_first_chunk::<2>()?;
    let destination = rest.first_chunk::<2>()?;
    Some((u16::from_be_bytes(*source), u16::from_be_bytes(*destination)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0x1F, 0x90, 0x01, 0xBB];

    fn complete(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        let header = parse(bytes);
        let ProxyHeader::Complete { len, addresses } = header else { panic!("{header:?}") };
        assert_eq!(len, bytes.len());
        addresses
    }

    #[test]
    fn addresses_of_both_families_come_out_whatever_follows_them() {
        let expected =
            ("192.0.2.1:8080".parse().expect("v4"), "198.51.100.7:443".parse().expect("v4"));
        assert_eq!(complete(&header(1, 0x11, &V4)), Some(expected));
        let with_more = [&V4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(complete(&header(1, 0x11, &with_more)), Some(expected));
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[31], v6[33], v6[35]) = (0x20, 1, 2, 3, 4);
        let expected = ("[2000::1]:3".parse().expect("v6"), "[::2]:4".parse().expect("v6"));
        assert_eq!(complete(&header(1, 0x21, &v6)), Some(expected));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_that_it_maps() {
        let mut body = [0; 36];
        (body[10], body[11]) = (0xFF, 0xFF);
        body[12..16].copy_from_slice(&[192, 0, 2, 9]);
        let (source, _) = complete(&header(1, 0x21, &body)).expect("addresses");
        assert_eq!(source.ip(), IpAddr::from([192, 0, 2, 9]));
    }

    #[test]
    fn a_balancer_that_connects_for_itself_names_nobody() {
        assert_eq!(complete(&header(0, 0x00, &[])), None);
        assert_eq!(complete(&header(0, 0x11, &V4)), None);
    }

    #[test]
    fn every_part_of_a_header_is_incomplete() {
        let whole = header(1, 0x11, &V4);
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), ProxyHeader::Incomplete, "{cut}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        let mut version_1 = header(1, 0x11, &V4);
        version_1[12] = 0x11;
        let mut long = header(1, 0x11, &V4);
        long[14] = 0xFF;
        for bytes in [
            b"PROXY TCP4 192.0.2.1".to_vec(),
            vec![0x16, 3, 1],
            version_1,
            long,
            header(2, 0x11, &V4),
            header(1, 0x12, &V4),
            header(1, 0x00, &V4),
            header(1, 0x31, &[0; 216]),
            header(1, 0x11, &V4[..11]),
            header(1, 0x21, &V4),
        ] {
            assert_eq!(parse(&bytes), ProxyHeader::Malformed, "{bytes:?}");
        }
    }
}
