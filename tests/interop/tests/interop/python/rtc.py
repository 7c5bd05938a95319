"""Two peers of aiortc with a data channel over relayed candidates only."""

import asyncio
import json
import os
import sys

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)

# Each is one message of a channel; together they take some hundred datagrams.
MESSAGES = [os.urandom(16 * 1024) for _ in range(16)]


async def main() -> None:
    servers = [RTCIceServer(**server) for server in json.load(sys.stdin)]
    configuration = RTCConfiguration(
        iceServers=servers, iceTransportPolicy=RTCIceTransportPolicy.RELAY
    )
    peers = [RTCPeerConnection(configuration) for _ in range(2)]
    try:
        caller, callee = await connect(*peers)
        await exchange(caller, callee)
        await exchange(callee, caller)
        for peer in peers:
            check_candidates(peer)
    finally:
        await asyncio.gather(*(peer.close() for peer in peers))


async def connect(
    caller: RTCPeerConnection, callee: RTCPeerConnection
) -> tuple[RTCDataChannel, RTCDataChannel]:
    """The channel's two ends, once it is open."""
    channel = caller.createDataChannel("interop")
    opened, announced = asyncio.Event(), asyncio.get_running_loop().create_future()
    channel.on("open", opened.set)
    callee.on("datachannel", announced.set_result)
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)
    await opened.wait()
    return channel, await announced


async def exchange(sender: RTCDataChannel, receiver: RTCDataChannel) -> None:
    """All messages arrive, in their order."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    receiver.on("message", arrived.put_nowait)
    for message in MESSAGES:
        sender.send(message)
    for message in MESSAGES:
        assert await arrived.get() == message, "another message has arrived"


def check_candidates(peer: RTCPeerConnection) -> None:
    """Neither side has offered anything but relayed addresses."""
    for description in (peer.localDescription, peer.remoteDescription):
        lines = description.sdp.splitlines()
        candidates = [line for line in lines if line.startswith("a=candidate:")]
        assert candidates, "no candidates"
        for line in candidates:
            assert " typ relay" in line, line


asyncio.run(asyncio.wait_for(main(), timeout=60))
