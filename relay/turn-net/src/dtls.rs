//! DTLS 1.2 and 1.3 in front of datagram listeners.
//!
//! Nothing is kept of a client before it has shown that it receives at its address: a ClientHello
//! without a cookie is answered by one that is a MAC over what came ([`cookie`]), and forgotten. Only
//! the ClientHello that brings the cookie back makes an [`association`].

pub(crate) mod association;
pub(crate) mod associations;
pub(crate) mod cookie;
pub(crate) mod hello;
mod identity;
#[cfg(test)]
mod tests;

pub(crate) use identity::DtlsIdentity;
