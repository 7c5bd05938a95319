//! ICMP errors that datagrams of a socket have met, as Linux queues them (ip(7), IP_RECVERR).

use std::{
    io, mem,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use turn_proto::IcmpError;

use crate::datagrams::address;

/// Room for what stands beside an error: the error itself and the address of who sent it.
const CONTROL_LEN: usize = 256;

#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// Asks the kernel to queue the errors of a socket.
#[expect(unsafe_code, reason = "socket2 and rustix do not know these options")]
pub(crate) fn queue_errors(socket: &impl AsFd, local: SocketAddr) -> io::Result<()> {
    let (level, option) = match local {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, whose address and length these are; the descriptor is
    // borrowed, so it is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the next error of a socket: where the datagram was sent to, and what came back. `Ok(None)`
/// is an error that did not come by ICMP.
///
/// # Errors
/// As recvmsg(2): `WouldBlock` when there is none.
#[expect(unsafe_code, reason = "no crate reads these control messages")]
pub(crate) fn next_error(socket: &impl AsFd) -> io::Result<Option<(SocketAddr, IcmpError)>> {
    let mut control = Control([0; CONTROL_LEN]);
    // SAFETY: all zeros are valid values of these plain C structures.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = mem::size_of_val(&name) as libc::socklen_t;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header names a buffer for an address and one for control messages, both of this
    // stack frame and with their right lengths, and no buffer for data.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(icmp(&header).and_then(|error| Some((address(&name)?, error))))
}

/// What the control messages say.
#[expect(unsafe_code, reason = "control messages are walked by pointers")]
fn icmp(header: &libc::msghdr) -> Option<IcmpError> {
    // SAFETY: the kernel has filled in the header, whose control buffer is alive and aligned.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: a pointer that these functions give is null, or of a whole control message.
    while let Some(message) = unsafe { next.as_ref() } {
        let is_error = (message.cmsg_level == libc::IPPROTO_IP
            && message.cmsg_type == libc::IP_RECVERR)
            || (message.cmsg_level == libc::IPPROTO_IPV6
                && message.cmsg_type == libc::IPV6_RECVERR);
        if is_error {
            // SAFETY: the data of such a message begins with this structure; it may lie anywhere.
            let error: libc::sock_extended_err =
                unsafe { ptr::read_unaligned(libc::CMSG_DATA(message).cast()) };
            let by_icmp =
                [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
            return by_icmp.then_some(IcmpError {
                kind: error.ee_type,
                code: error.ee_code,
                data: error.ee_info,
            });
        }
        // SAFETY: as above.
        next = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{
        net::UdpSocket,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_port_that_nobody_listens_on_comes_back_in_both_families() {
        for (loopback, kind, code) in [("127.0.0.1:0", 3, 3), ("[::1]:0", 1, 4)] {
            let socket = UdpSocket::bind(loopback).expect("loopback");
            queue_errors(&socket, socket.local_addr().expect("bound")).expect("set");
            let nothing = next_error(&socket).map_err(|error| error.kind());
            assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
            let closed = UdpSocket::bind(loopback).expect("loopback");
            let nobody = closed.local_addr().expect("bound");
            drop(closed);
            socket.send_to(b"anybody there?", nobody).expect("sent");
            let deadline = Instant::now() + Duration::from_secs(10);
            let found = loop {
                match next_error(&socket) {
                    Ok(found) => break found,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                assert!(Instant::now() < deadline, "nothing came back");
                std::thread::yield_now();
            };
            assert_eq!(found, Some((nobody, IcmpError { kind, code, data: 0 })));
        }
    }
}
