//! The head of a Data indication (RFC 8656, section 11.6), for data that already stands in its place.

use crate::{
    Class, HEADER_LEN, Method, TransactionId, address,
    attribute::{Attribute, Data, XorPeerAddress},
    header::{MAGIC_COOKIE, message_type},
    padded,
};

/// The most bytes that [`data_indication_head`] writes: with an IPv6 peer.
pub const MAX_DATA_INDICATION_HEAD: usize = HEADER_LEN + 4 + 20 + 4;

/// Writes all of a Data indication that stands in front of `data_len` bytes of data, and returns how
/// long it is. The head ends where `out` ends, so that the data can follow directly; behind the data
/// come as many zero bytes as fill up four.
///
/// `None` when `out` is too short, or the message would be longer than its length field can say.
#[must_use]
pub fn data_indication_head(
    out: &mut [u8],
    transaction: TransactionId,
    peer: XorPeerAddress,
    data_len: usize,
) -> Option<usize> {
    let address_len = address::encoded_len(&peer.0);
    let head_len = HEADER_LEN + 4 + address_len + 4;
    let body_len = u16::try_from(head_len - HEADER_LEN + padded(data_len)).ok()?;
    let start = out.len().checked_sub(head_len)?;
    let (header, attributes) = out[start..].split_at_mut(HEADER_LEN);
    header[..2].copy_from_slice(&message_type(Class::Indication, Method::DATA).to_be_bytes());
    header[2..4].copy_from_slice(&body_len.to_be_bytes());
    header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    header[8..].copy_from_slice(&transaction.0);
    let (peer_attribute, data_attribute) = attributes.split_at_mut(4 + address_len);
    peer_attribute[..2].copy_from_slice(&XorPeerAddress::TYPE.0.to_be_bytes());
    peer_attribute[2..4].copy_from_slice(&u16::try_from(address_len).ok()?.to_be_bytes());
    peer.encode(&mut peer_attribute[4..], &transaction);
    data_attribute[..2].copy_from_slice(&Data::TYPE.0.to_be_bytes());
    data_attribute[2..].copy_from_slice(&u16::try_from(data_len).ok()?.to_be_bytes());
    Some(head_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, MessageWriter};

    #[test]
    fn the_head_and_the_data_are_the_message_that_the_writer_writes() {
        let transaction = TransactionId([7; 12]);
        for peer in ["192.0.2.1:9", "[2001:db8::1]:9"] {
            let peer = XorPeerAddress(peer.parse().expect("an address"));
            for data in [&b""[..], b"a", b"ab", b"abc", b"abcd"] {
                let mut head = [0xEE; 64];
                let len = data_indication_head(&mut head, transaction, peer, data.len());
                let len = len.expect("it fits");
                let mut found = head[64 - len..].to_vec();
                found.extend_from_slice(data);
                found.resize(len + padded(data.len()), 0);
                let mut expected = [0; 128];
                let len =
                    MessageWriter::new(&mut expected, Class::Indication, Method::DATA, transaction)
                        .put(&peer)
                        .put(&Data(data))
                        .finish()
                        .expect("it fits");
                assert_eq!(found, expected[..len]);
                assert!(Message::decode(&found).is_ok());
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let peer = XorPeerAddress("192.0.2.1:9".parse().expect("an address"));
        let transaction = TransactionId([7; 12]);
        assert_eq!(data_indication_head(&mut [0; 35], transaction, peer, 0), None);
        assert_eq!(data_indication_head(&mut [0; 64], transaction, peer, 65_535), None);
    }
}
