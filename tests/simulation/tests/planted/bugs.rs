//! The bugs.

/// A bug to be planted: where, what, and what it means.
pub(crate) struct Bug {
    /// What goes wrong.
    pub(crate) sense: &'static str,
    pub(crate) changes: &'static [Change],
}

/// A change of the source.
pub(crate) struct Change {
    /// Below `relay`.
    pub(crate) file: &'static str,
    /// What stands there once.
    pub(crate) text: &'static str,
    pub(crate) instead: &'static str,
}

macro_rules! bugs {
    ($($sense:literal { $($file:literal: $text:literal => $instead:literal;)+ })+) => {
        /// Each of them.
        pub(crate) const BUGS: &[Bug] = &[$(Bug {
            sense: $sense,
            changes: &[$(Change { file: $file, text: $text, instead: $instead },)+],
        },)+];
    };
}

bugs! {
    "an allocation ends a tick early" {
        "turn-proto/src/timer_wheel.rs":
            "let tick = since.as_secs() + u64::from(since.subsec_nanos() > 0);"
            => "let tick = since.as_secs();";
        "turn-proto/src/server.rs": "relayed.expires_at <= now)"
            => "relayed.expires_at <= now + Duration::from_secs(1))";
    }
    "an allocation does not end" {
        "turn-proto/src/server.rs":
            "self.end_relayed(RelayedId { allocation: id, family }, EndReason::Expired);" => "";
    }
    "a refresh of zero does not delete" {
        "turn-proto/src/request/refresh.rs": "0 => self.delete(id, wish.family)," => "0 => {}";
    }
    "the end of a connection is not the end of its allocation" {
        "turn-proto/src/server.rs": "self.end(id, EndReason::Disconnected);" => "let _ = id;";
    }
    "a permission is not checked inbound" {
        "turn-proto/src/relay_path.rs":
            "self.check_permission(allocation, from, now, without, transport)?;"
            => "let _ = (without, transport);";
    }
    "a permission is not checked outbound" {
        "turn-proto/src/relay_path.rs":
            "self.check_permission(allocation, peer, now.instant, denied, RelayedTransport::Udp)?;"
            => "";
    }
    "an ICMP error of a stranger reaches the client" {
        "turn-proto/src/icmp.rs":
            "self.check_permission(allocation, peer, now, without, transport)?;"
            => "let _ = (without, transport);";
    }
    "a permission lasts 299 s" {
        "turn-proto/src/permission.rs": "Duration::from_secs(300)" => "Duration::from_secs(299)";
    }
    "a permission lasts a millisecond too long" {
        "turn-proto/src/permission.rs": "Duration::from_secs(300)"
            => "Duration::from_millis(300_001)";
    }
    "a channel lasts 599 s" {
        "turn-proto/src/channel_binding.rs": "Duration::from_secs(600)" => "Duration::from_secs(599)";
    }
    "a channel does not renew its permission" {
        "turn-proto/src/request/channel_bind.rs":
            "allocation.permissions.install(peer_ip, reach, now.instant);" => "let _ = reach;";
    }
    "a channel is bound to another peer too early" {
        "turn-proto/src/channel_binding.rs": "Duration::from_secs(300)" => "Duration::from_secs(299)";
    }
    "a peer gets a second channel" {
        "turn-proto/src/channel_binding.rs":
            "number_is_taken || other.is_some_and(|bound| is_held(bound, now))"
            => "number_is_taken";
    }
    "the candidates of one host are charged as many peers" {
        "turn-proto/src/request/create_permission.rs":
            "if peers.iter().any(|(known, _)| *known == peer.0.ip())" => "if false";
    }
    "a quota is released twice" {
        "turn-proto/src/server.rs": "self.ledger.discharge(&allocation.client);"
            => "self.ledger.discharge(&allocation.client); self.ledger.discharge(&allocation.client);";
    }
    "a quota is one too high" {
        "turn-proto/src/ledger.rs": "held + charges > most ||"
            => "held + charges > most + 1 ||";
    }
    "a charge is not given back when no port is free" {
        "turn-proto/src/request/allocate.rs": "self.ledger.discharge(client);\n            if reserve"
            => "if reserve";
    }
    "a charge is not given back when no socket opens" {
        "turn-proto/src/request/opening.rs": "self.end(id, EndReason::NotOpened);"
            => "self.allocations.remove(id);";
    }
    "the next port of a pair that another program has is lost" {
        "turn-proto/src/request/opening.rs": "self.ledger.give_back(held.next());" => "";
    }
    "a reserved port that nobody asks for is lost" {
        "turn-proto/src/ledger.rs": "ports.give_back(port.port);" => "let _ = ports;";
    }
    "a reserved port is given to others too" {
        "turn-proto/src/port_allocator.rs": "                self.remove(port + 1);\n" => "";
    }
    "a token is good for anybody" {
        "turn-proto/src/ledger.rs": ".filter(|kept| kept.user == user)" => "";
    }
    "an even port is odd at times" {
        "turn-proto/src/request/allocate.rs": "Some(EvenPort { reserve: false }) => Parity::Even,"
            => "Some(EvenPort { reserve: false }) => Parity::Any,";
    }
    "a retransmitted Allocate is answered with 437" {
        "turn-proto/src/request/allocate.rs":
            "if allocation.transaction != signed.request.transaction" => "if true";
    }
    "a draining relay takes newcomers" {
        "turn-proto/src/request/allocate.rs": "if self.draining" => "if false";
    }
    "anybody commands somebody's allocation" {
        "turn-proto/src/request/mod.rs": "if allocation.client.user == signed.proof.client.user" => "if true";
    }
    "a credential does not end" {
        "turn-auth/src/credentials.rs": "(now < expiry).then(" => "true.then(";
    }
    "a nonce does not get stale" {
        "turn-auth/src/nonce.rs": "if young && ours" => "if ours";
    }
    "a new policy leaves old permissions" {
        "turn-proto/src/server.rs": "allocation.permissions.judge_again(|peer| gate.reach(peer));"
            => "let _ = gate;";
    }
    "ports of the relay's own that are closed are reached" {
        "turn-proto/src/relay_path.rs": "self.ledger.is_live_for(&peer.0, transport) == Some(true)"
            => "{ let _ = transport; true }";
    }
    "strangers get as many answers as they like" {
        "turn-proto/src/reply_budget.rs": "bucket.tokens -= 1.0;" => "";
    }
    "what goes to clients is not counted" {
        "turn-proto/src/relay_path.rs": "self.counters.to_clients.add(payload_len);" => "";
    }
}
