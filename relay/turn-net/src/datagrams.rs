//! Many datagrams with one system call.

use std::{
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use turn_proto::Server;

/// The room in front of each datagram: the header that it may need towards a client.
pub(crate) const HEAD_LEN: usize = Server::HEAD_LEN;

/// The longest datagram that UDP has.
const MAX_DATAGRAM: usize = 65_535;

/// The room behind each datagram: padding.
const TAIL_LEN: usize = 3;

const SLOT_LEN: usize = HEAD_LEN + MAX_DATAGRAM + TAIL_LEN;

/// How many datagrams one call takes at most.
pub(crate) const BATCH: usize = 32;

/// Room for a batch of datagrams, each with space for a header before it and padding behind it.
///
/// Made once for each worker and used for all of its sockets.
pub(crate) struct Datagrams {
    arena: Box<[u8]>,
    names: [libc::sockaddr_storage; BATCH],
    received: [Received; BATCH],
}

#[derive(Clone, Copy)]
struct Received {
    len: usize,
    from: Option<SocketAddr>,
}

/// One datagram, where it lies.
pub(crate) struct Datagram<'a> {
    /// Head, datagram, tail.
    slot: &'a mut [u8],
    len: usize,
    pub(crate) from: SocketAddr,
}

impl<'a> Datagram<'a> {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.slot[HEAD_LEN..HEAD_LEN + self.len]
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The room in front of the datagram.
    pub(crate) fn head_mut(&mut self) -> Option<&mut [u8; HEAD_LEN]> {
        self.slot.first_chunk_mut()
    }

    /// The datagram with the last `head` bytes of its head, and `tail` zero bytes.
    pub(crate) fn framed(&mut self, head: usize, tail: usize) -> &[u8] {
        let end = HEAD_LEN + self.len + tail.min(TAIL_LEN);
        self.slot[HEAD_LEN + self.len..end].fill(0);
        &self.slot[HEAD_LEN - head..end]
    }
}

impl Datagrams {
    #[expect(unsafe_code, reason = "a C structure of zeros has no safe constructor")]
    pub(crate) fn new() -> Self {
        // SAFETY: an address of all zeros is a valid value of this plain C structure.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            arena: vec![0; SLOT_LEN * BATCH].into_boxed_slice(),
            names: [name; BATCH],
            received: [Received { len: 0, from: None }; BATCH],
        }
    }

    /// Takes what a socket has, at most `most` datagrams. Fewer than that means that it had no more.
    ///
    /// # Errors
    /// As recvmmsg(2): `WouldBlock` when there is nothing.
    #[expect(unsafe_code, reason = "recvmmsg has no safe wrapper that reuses its headers")]
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let most = most.min(BATCH);
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: a header of all zeros is a valid value of this plain C structure: it names no
        // buffers.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let slots = self.arena.chunks_exact_mut(SLOT_LEN);
        let places = slots.zip(&mut self.names).zip(&mut vectors).zip(&mut headers).take(most);
        for (((slot, name), vector), header) in places {
            vector.iov_base = slot[HEAD_LEN..].as_mut_ptr().cast();
            vector.iov_len = MAX_DATAGRAM;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `most` headers name buffers of `self.arena` and `self.names`, and
        // vectors of this stack frame, with their right lengths; all of them live until the call
        // returns, and nothing else refers to them meanwhile.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for ((received, header), name) in
            self.received.iter_mut().zip(&headers).zip(&self.names).take(count)
        {
            *received = Received { len: header.msg_len as usize, from: address(name) };
        }
        Ok(count)
    }

    /// One of the datagrams of the last batch; `None` when its source is no IP address.
    pub(crate) fn get(&mut self, index: usize) -> Option<Datagram<'_>> {
        let Received { len, from } = *self.received.get(index)?;
        let slot = self.arena.get_mut(index * SLOT_LEN..(index + 1) * SLOT_LEN)?;
        Some(Datagram { slot, len: len.min(MAX_DATAGRAM), from: from? })
    }
}

/// What the kernel has written as a source.
#[expect(unsafe_code, reason = "the C structure is a union in all but name")]
pub(crate) fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is this structure, which is shorter and no stricter
            // aligned.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;

    #[test]
    fn a_batch_is_what_was_sent_from_where_it_was_sent() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(loopback).expect("loopback");
            let sender = UdpSocket::bind(loopback).expect("loopback");
            let to = receiver.local_addr().expect("bound");
            let mut datagrams = Datagrams::new();
            let nothing = datagrams.receive(receiver.as_fd(), BATCH);
            assert_eq!(nothing.map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
            for payload in [&b"one"[..], b"", &[7; 9000]] {
                sender.send_to(payload, to).expect("sent");
            }
            assert_eq!(datagrams.receive(receiver.as_fd(), 2).expect("received"), 2);
            let mut first = datagrams.get(0).expect("there");
            assert_eq!(first.payload(), b"one");
            assert_eq!(first.from, sender.local_addr().expect("bound"));
            first.head_mut().expect("room")[HEAD_LEN - 2..].copy_from_slice(b"->");
            assert_eq!(first.framed(2, 1), b"->one\0");
            assert_eq!(datagrams.get(1).expect("there").payload(), b"");
            assert_eq!(datagrams.receive(receiver.as_fd(), 2).expect("received"), 1);
            assert_eq!(datagrams.get(0).expect("there").payload(), [7; 9000]);
        }
    }
}
