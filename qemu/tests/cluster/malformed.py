"""Packets that are wrong at one layer and right below it, made with scapy and sent to a node.

usage: malformed.py DEVICE NODE-MAC NODE-ADDRESS SEED COUNT [LAYER...]

Sends so many for each layer, or for those that are named, and prints `LAYER: N sent`. After every
few the node must answer a ping, so that none is lost on the way and a node that dies is noticed
where it does. The last layer is a connection made by hand whose segments overlap, come twice and
out of order: all the bytes must be echoed right.
"""
import os
import random
import socket
import struct
import sys
import time

from scapy.config import conf

conf.ipv6_enabled = True
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, IPv6, IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw
from scapy.compat import raw

ECHO = 7
PORTS = [ECHO, 9, 19, 53, 67, 68, 80, 7700, 7701]
# Packets between two pings.
BATCH = 200
PATIENCE_SECS = 60
# Nobody's addresses: who answers the node there would harm itself.
STRANGERS = ["10.77.0.%d" % host for host in range(100, 180)]
OWN = "10.77.0.200"
SEGMENT_BYTES = 256
WINDOW_BYTES = 8192

device, node_mac, node, seed, count = sys.argv[1:6]
seed, count = int(seed), int(count)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
wire.bind((device, 0))
own_mac = ":".join("%02x" % byte for byte in wire.getsockname()[4][:6])
to_node = Ether(src=own_mac, dst=node_mac)
NODE_MAC_BYTES = bytes.fromhex(node_mac.replace(":", ""))


def junk(r, most=64):
    return r.randbytes(r.randrange(most))


def cut(r, packet):
    """The packet, or the beginning of it, or with more at its end."""
    data = raw(packet)
    kind = r.randrange(4)
    if kind == 0:
        return data[:r.randrange(14, len(data) + 1)]
    return data + junk(r) if kind == 1 else data


def inner(r):
    """What a packet of IP carries, mostly right."""
    port = r.choice(PORTS)
    return r.choice([
        lambda: TCP(sport=r.randrange(1024, 65536), dport=port, flags=r.choice("SAFRP")),
        lambda: UDP(sport=r.randrange(1024, 65536), dport=port) / Raw(junk(r)),
        lambda: ICMP() / Raw(junk(r)),
    ])()


def ip(r, **fields):
    return IP(**{"src": r.choice(STRANGERS), "dst": node} | fields)


def ethernet(r):
    frame = Ether(src=own_mac, dst=r.choice([node_mac, "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"]))
    kind = r.randrange(4)
    if kind == 0:
        frame.type = r.randrange(65536)
        return raw(frame / Raw(junk(r)))
    if kind == 1:
        frame.type = r.choice([0x0800, 0x0806, 0x86dd, 0x8100, r.randrange(1500)])
        return raw(frame / Raw(junk(r, 12)))
    if kind == 2:
        return cut(r, frame / Dot1Q(vlan=r.randrange(4096)) / Dot1Q() / ip(r) / inner(r))
    return raw(frame / ip(r) / inner(r))[:r.randrange(14, 34)]


def arp(r):
    bad = ARP(op=r.randrange(65536), psrc=r.choice(STRANGERS), pdst=node, hwsrc=own_mac)
    kind = r.randrange(4)
    if kind == 0:
        bad.hwlen = r.choice([0, 5, 7, 255])
    elif kind == 1:
        bad.plen = r.choice([0, 3, 5, 16, 255])
    elif kind == 2:
        bad.hwtype = r.randrange(2, 65536)
    else:
        bad.psrc, bad.hwsrc = r.choice(["0.0.0.0", "255.255.255.255", "224.0.0.1"]), "ff:ff:ff:ff:ff:ff"
    return cut(r, to_node / bad)


def ipv4(r):
    bad = ip(r)
    kind = r.randrange(8)
    if kind == 0:
        bad.version = r.choice([0, 5, 6, 15])
    elif kind == 1:
        bad.ihl = r.choice([0, 1, 4, 6, 15])
    elif kind == 2:
        bad.len = r.choice([0, 19, 21, 65535, r.randrange(65536)])
    elif kind == 3:
        bad.chksum = r.randrange(65536)
    elif kind == 4:
        bad.options = [Raw(r.randbytes(r.randrange(1, 40)))]
    elif kind == 5:
        bad.proto, bad.ttl = r.randrange(256), r.choice([0, 1])
    elif kind == 6:
        bad.src = r.choice([node, "127.0.0.1", "255.255.255.255", "224.0.0.1", "0.0.0.0"])
    else:
        bad.dst = r.choice(["127.0.0.1", "255.255.255.255", "224.0.0.1", "10.77.0.255", "0.0.0.0"])
    return cut(r, to_node / bad / inner(r))


def fragment(r):
    more, offset = r.choice(["", "MF", "MF+DF", "evil"]), r.choice([0, 1, 2, 3, 184, 8000, 8191])
    header = ip(r, id=r.randrange(50), flags=more, frag=offset, proto=r.choice([1, 6, 17]))
    size = r.choice([0, 1, 7, 8, 9, 16, 24, 1000, 1480])
    return cut(r, to_node / header / Raw(r.randbytes(size)))


def icmp(r):
    lost = raw(ip(r, src=node) / inner(r))
    bad = ICMP(type=r.choice([0, 3, 4, 5, 8, 11, 12, 13, r.randrange(256)]), code=r.randrange(256))
    if r.randrange(2):
        bad.chksum = r.randrange(65536)
    return cut(r, to_node / ip(r) / bad / Raw(lost[:r.randrange(len(lost))]))


def udp(r):
    bad = UDP(sport=r.choice([0, 53, 67, r.randrange(65536)]), dport=r.choice(PORTS + [0]))
    kind = r.randrange(3)
    if kind == 0:
        bad.len = r.choice([0, 7, 9, 65535, r.randrange(65536)])
    elif kind == 1:
        bad.chksum = r.randrange(1, 65536)
    return cut(r, to_node / ip(r) / bad / Raw(junk(r, 600)))


def tcp(r):
    bad = TCP(
        sport=r.randrange(65536), dport=r.choice(PORTS), seq=r.randrange(1 << 32),
        ack=r.randrange(1 << 32), flags=r.randrange(512), window=r.choice([0, 1, 65535]),
        urgptr=r.choice([0, 0, 65535]))
    kind = r.randrange(4)
    if kind == 0:
        bad.dataofs = r.randrange(16)
    elif kind == 1:
        bad.chksum = r.randrange(65536)
    elif kind == 2:
        # Kinds that are known, with lengths that are not theirs.
        length = r.choice([0, 1, 3, 40, 255])
        options = bytes([r.choice([2, 3, 4, 5, 8, 253]), length]) + junk(r, 34)
        bad.dataofs = 5 + (len(options) + 3) // 4
        return cut(r, to_node / ip(r) / bad / Raw(options.ljust((bad.dataofs - 5) * 4, b"\1")))
    return cut(r, to_node / ip(r) / bad / Raw(junk(r)))


def ip6(r, **fields):
    source = "fe80::%x" % r.randrange(0x100, 0x180)
    return IPv6(src=source, dst=r.choice(["ff02::1", node6]), **fields)


def ipv6(r):
    bad, rest = ip6(r), inner(r)
    kind = r.randrange(6)
    if kind == 0:
        bad.version = r.choice([0, 4, 7, 15])
    elif kind == 1:
        bad.plen = r.choice([0, 1, 65535, r.randrange(65536)])
    elif kind == 2:
        bad.nh, bad.hlim = r.randrange(256), r.choice([0, 1])
    elif kind == 3:
        bad.src = r.choice(["::", "ff02::1", "::1", node6])
    elif kind == 4:
        rest = IPv6ExtHdrFragment(
            offset=r.choice([0, 1, 8191]), m=r.randrange(2), id=r.randrange(50),
            nh=r.choice([6, 17, 58])) / Raw(junk(r))
    else:
        extension = r.choice([IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting])
        rest = extension(len=r.choice([0, 1, 9, 255])) / Raw(junk(r))
    return cut(r, to_node / bad / rest)


def icmpv6(r):
    kinds = [ICMPv6ND_NS(tgt=node6), ICMPv6ND_NA(tgt="fe80::1"), ICMPv6ND_RA(), ICMPv6EchoRequest()]
    bad = r.choice(kinds)
    options = b""
    kind = r.randrange(3)
    if kind == 0:
        bad.cksum = r.randrange(65536)
    elif kind == 1:
        options = bytes([r.randrange(1, 6), 0]) + junk(r)
    # Neighbours speak with a hop limit of 255; from afar none of it is true.
    return cut(r, to_node / ip6(r, hlim=255 if kind != 2 else 64) / bad / Raw(options))


def receive():
    """A frame of the node, or nothing for another; answers who asks for our address."""
    data = wire.recv(65536)
    if data[12:14] == b"\x08\x06" and data[38:42] == socket.inet_aton(OWN):
        asker = Ether(data)[ARP]
        reply = ARP(op=2, hwsrc=own_mac, psrc=OWN, hwdst=asker.hwsrc, pdst=asker.psrc)
        wire.send(raw(to_node / reply))
    return data if data[6:12] == NODE_MAC_BYTES else None


def ping(number):
    """Waits until all that was sent has been taken: a ping after it is answered."""
    question = raw(to_node / IP(src=OWN, dst=node) / ICMP(id=os.getpid() & 0xffff, seq=number & 0xffff))
    deadline = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < deadline:
        wire.send(question)
        wire.settimeout(1)
        try:
            while time.monotonic() < deadline:
                data = receive()
                # An echo reply, its identifier and its number.
                if data and data[23] == 1 and data[34] == 0 and data[38:42] == question[38:42]:
                    return
        except socket.timeout:
            pass
    sys.exit("the node answers no ping after packet %d" % number)


def send_all(name, make):
    r = random.Random("%s %d" % (name, seed))
    for number in range(count):
        while True:
            try:
                wire.send(make(r)[:1514])
                break
            except OSError:  # The tap is full.
                ping(number)
        if number % BATCH == BATCH - 1:
            ping(number)
    ping(count)
    print("%s: %d sent" % (name, count), flush=True)


def byte_at(place):
    return place * 7 // 3 & 0xff


def segments():
    """A connection by hand. Its bytes are of their place, so that who overlaps says the same."""
    r = random.Random("segments %d" % seed)
    port, start = r.randrange(40000, 60000), r.randrange(1 << 32)
    headers = to_node / IP(src=OWN, dst=node)

    def segment(place, data=b"", flags="A", ack=0):
        tcp = TCP(sport=port, dport=ECHO, seq=(start + place) % (1 << 32), ack=ack, flags=flags)
        wire.send(raw(headers / tcp / Raw(data)))

    def heard():
        """What the node says here: waits for a moment for the first of it, then takes all."""
        until, any_yet = time.monotonic() + 0.05, False
        while any_yet or time.monotonic() < until:
            wire.settimeout(0 if any_yet else 0.05)
            try:
                data = receive()
            except (socket.timeout, BlockingIOError):
                return
            if data and data[23] == 6 and struct.unpack("!H", data[36:38])[0] == port:
                any_yet = True
                yield Ether(data)[IP]

    ping(0)
    segment(0, flags="S")
    opened = next((answer[TCP] for answer in heard() if "S" in answer[TCP].flags), None)
    opened or sys.exit("the node opens no connection")
    theirs, echoed, acknowledged, sent = opened.seq + 1, 0, 0, 0
    deadline = time.monotonic() + PATIENCE_SECS
    segment(1, ack=theirs)
    while sent < count or echoed < count:
        time.monotonic() < deadline or sys.exit("%d bytes of the stream are echoed" % echoed)
        # Pieces of what is not acknowledged yet and of what is, in any order; the first is among
        # them, so that it goes on.
        pieces = [r.randrange(max(0, acknowledged - 512), acknowledged + WINDOW_BYTES)
                  for _ in range(20)] + [acknowledged]
        r.shuffle(pieces)
        for place in pieces:
            data = bytes(map(byte_at, range(place, place + r.randrange(1, SEGMENT_BYTES))))
            segment(1 + place, data, r.choice(["A", "PA"]), (theirs + echoed) % (1 << 32))
        sent += len(pieces)
        for answer in heard():
            got = answer[TCP]
            "R" in got.flags and sys.exit("the node resets the connection")
            acknowledged = max(acknowledged, (got.ack - start - 1) % (1 << 32))
            place, data = (got.seq - theirs) % (1 << 32), bytes(got.payload)[:answer.len - 40]
            data == bytes(map(byte_at, range(place, place + len(data)))) or sys.exit(
                "what is echoed at %d is wrong" % place)
            if data and place <= echoed:
                deadline = time.monotonic() + PATIENCE_SECS
                echoed = max(echoed, place + len(data))
        # A word of its own: what lies outside a closed window is not looked at, nor what it says.
        segment(1 + acknowledged, ack=(theirs + echoed) % (1 << 32))
    segment(1 + acknowledged, flags="RA", ack=(theirs + echoed) % (1 << 32))
    print("segments: %d sent, %d bytes echoed" % (sent, echoed), flush=True)


node6 = "fe80::" + ":".join(
    "%02x%02x" % pair for pair in
    (lambda b: [(b[0] ^ 2, b[1]), (b[2], 0xff), (0xfe, b[3]), (b[4], b[5])])(
        NODE_MAC_BYTES))
LAYERS = [ethernet, arp, ipv4, fragment, icmp, udp, tcp, ipv6, icmpv6]
only = sys.argv[6:]
for layer in LAYERS:
    if not only or layer.__name__ in only:
        send_all(layer.__name__, layer)
if not only or "segments" in only:
    segments()
