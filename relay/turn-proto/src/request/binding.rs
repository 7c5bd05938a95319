//! Binding (RFC 8489, section 12): where a client's datagrams come from. Needs no credentials.

use turn_wire::{
    AttributeType, Message,
    attribute::{
        Attribute, ChangeRequest, MappedAddress, OtherAddress, Padding, ResponseOrigin,
        ResponsePort, XorMappedAddress,
    },
};

use crate::{
    ClientAddr, ClientStep, FiveTuple, Refusal, Server, Verdict,
    client_step::of_client,
    discovery::Corner,
    reply::{Reply, Request},
};

/// What a Binding may ask for where a server helps to discover a NAT's behaviour.
const OF_DISCOVERY: &[AttributeType] = &[ChangeRequest::TYPE, ResponsePort::TYPE, Padding::TYPE];

/// The most padding of an answer, in bytes: more than a packet of the usual networks holds.
const MAX_PADDING: usize = 1504;

/// What a Binding asks for (RFC 5780, section 7).
struct Wish {
    change: ChangeRequest,
    port: Option<ResponsePort>,
    padding: usize,
}

impl Server {
    pub(super) fn binding(
        &mut self,
        from: &FiveTuple,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
    ) -> Verdict {
        let request = Request::of(message);
        let corner = Corner::of(&self.settings.discovery, from);
        let known = if corner.is_some() { OF_DISCOVERY } else { &[] };
        let unknown = || super::unknown(message).filter(|kind| !known.contains(kind));
        if unknown().next().is_some() {
            self.counters.refused(Refusal::UnknownAttribute);
            return Verdict::Respond { len: reply.unknown_attributes(request, &None, unknown()) };
        }
        let Some(corner) = corner else {
            self.counters.succeeded += 1;
            self.client_step = of_client(ClientStep::Binding, message);
            let len = reply
                .success(request, &None, |writer| writer.put(&XorMappedAddress(from.client.0)));
            return Verdict::Respond { len };
        };
        match wish(message) {
            Ok(wish) => {
                self.counters.succeeded += 1;
                self.client_step = of_client(ClientStep::Binding, message);
                answer_from(corner, &wish, from, request, reply)
            }
            Err(refusal) => {
                self.counters.refused(refusal);
                Verdict::Respond { len: reply.refuse(request, refusal, &None) }
            }
        }
    }
}

fn wish(message: &Message<'_>) -> Result<Wish, Refusal> {
    let bad = Refusal::BadRequest;
    let change = message.get::<ChangeRequest>().map_err(|_| bad)?;
    let port = message.get::<ResponsePort>().map_err(|_| bad)?;
    let padding = message.get::<Padding<'_>>().map_err(|_| bad)?;
    // Both together would send a long answer to somebody else (RFC 5780, section 6.1).
    if port.is_some() && padding.is_some() || port == Some(ResponsePort(0)) {
        return Err(bad);
    }
    Ok(Wish {
        change: change.unwrap_or(ChangeRequest { address: false, port: false }),
        port,
        padding: padding.map_or(0, |padding| padding.0.len().min(MAX_PADDING)),
    })
}

fn answer_from(
    corner: Corner<'_>,
    wish: &Wish,
    from: &FiveTuple,
    request: Request,
    reply: &mut Reply<'_>,
) -> Verdict {
    const ZEROS: [u8; MAX_PADDING] = [0; MAX_PADDING];
    let origin = corner.changed(wish.change.address, wish.change.port);
    let padding = (wish.padding > 0).then(|| Padding(&ZEROS[..wish.padding]));
    let len = reply.success(request, &None, |writer| {
        writer
            .put(&XorMappedAddress(from.client.0))
            .put(&MappedAddress(from.client.0))
            .put(&ResponseOrigin(origin.external()))
            .put(&OtherAddress(corner.changed(true, true).external()))
            .put_some(padding.as_ref())
    });
    let mut client = from.client.0;
    if let Some(ResponsePort(port)) = wish.port {
        client.set_port(port);
    }
    if origin == corner && client == from.client.0 {
        return Verdict::Respond { len };
    }
    Verdict::RespondFrom { len, server: origin.local(), client: ClientAddr(client) }
}
