"""Two ICE agents of aioice that reach each other through relayed candidates only."""

import asyncio
import json
import sys

from aioice import Connection, TransportPolicy
from aiortc.rtcconfiguration import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs

# More than one agent's socket takes at once would be lost like any datagrams.
DATAGRAMS = [bytes([number]) * 1200 for number in range(20)]


async def main() -> None:
    servers = [RTCIceServer(**server) for server in json.load(sys.stdin)]
    agents = [
        Connection(
            ice_controlling=controlling,
            transport_policy=TransportPolicy.RELAY,
            **connection_kwargs(servers),
        )
        for controlling in (True, False)
    ]
    try:
        await introduce(*agents)
        await introduce(*reversed(agents))
        await asyncio.gather(*(agent.connect() for agent in agents))
        await exchange(*agents)
        await exchange(*reversed(agents))
    finally:
        await asyncio.gather(*(agent.close() for agent in agents))


async def introduce(agent: Connection, to: Connection) -> None:
    """Tells an agent's candidates and secrets to the other."""
    await agent.gather_candidates()
    kinds = [candidate.type for candidate in agent.local_candidates]
    assert kinds == ["relay"], f"gathered {kinds}"
    for candidate in agent.local_candidates:
        await to.add_remote_candidate(candidate)
    await to.add_remote_candidate(None)
    to.remote_username = agent.local_username
    to.remote_password = agent.local_password


async def exchange(sender: Connection, receiver: Connection) -> None:
    """Each datagram arrives before the next one is sent."""
    for datagram in DATAGRAMS:
        await sender.send(datagram)
        received = await receiver.recv()
        assert received == datagram, f"{len(received)} other bytes have arrived"


asyncio.run(asyncio.wait_for(main(), timeout=60))
