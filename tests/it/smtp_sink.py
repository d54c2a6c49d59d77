"""A real SMTP server (aiosmtpd) that writes down everything and misbehaves as it is told.

    python3 smtp_sink.py FOLDER OPTIONS

The first line of standard output is its port on 127.0.0.1. It ends when its standard input does. In FOLDER:
    record.jsonl   one object a line, appended and flushed *before* the answer is sent that it is about:
                   {"kind": "mail", "time", "peer", "mail_from", "rcpt_tos", "tls", "user", "data" (base64)}
                   {"kind": "refusal", "time", "peer", "mail_from", "rcpt_tos", "at", "code", "text"}: `at` is the last
                   command that was let in, "dot" or "greeting"; code 0 = no answer: cut or stalled, says the text
    connections    the most that there were at once
    away           while this file exists, everybody is answered 421
    ca.pem         with TLS, the authority of the certificate for 127.0.0.1, valid from the server's start

OPTIONS is a JSON object; everything in it may be left out:
    tls        "starttls" or "implicit"
    auth       {"user", "password"}: required; without "password": required, and always refused
    mechanism  "PLAIN" or "LOGIN": AUTH is offered with this one only
    drop       {"fraction", "seed"}: this part of conversations is cut at random, at the greeting or in the middle
    everybody  a behaviour (below) for every recipient
    forget     true: of accepted mails only the envelope is written down, for runs of thousands

What a recipient's local part says, also with a suffix after a dot (`code-550.7`), is what happens:
    code-NNN       NNN to RCPT
    data-NNN       NNN at the end of DATA
    greylist       451 to the first RCPT, then accepted
    then-ok-N      450 to the first N RCPTs, then accepted
    stall-data     no answer to DATA
    stall-dot      no answer to the final dot; the mail isn't accepted
    trickle        answers come at one byte a second
    cut-after-250  accepted and answered, then the connection is cut
    cut-before-250 accepted and not answered: the connection is cut
"""

import asyncio
import base64
import collections
import json
import logging
import os
import random
import re
import ssl
import subprocess
import sys
import time
import warnings

from aiosmtpd.smtp import SMTP

BEHAVIOUR = re.compile(
    r"(?P<name>code|data|then-ok)-(?P<number>\d+)"
    r"|(?P<word>greylist|stall-data|stall-dot|trickle|cut-after-250|cut-before-250)"
)
# A stalled client waits for its own time-out, which is what is tested.
LONGEST = 3600
CUT_POINTS = ["MAIL", "RCPT", "DATA", "dot"]


class Sink:
    """What all conversations share."""

    def __init__(self, folder, options):
        self.folder = folder
        self.options = options
        self.away_file = os.path.join(folder, "away")
        self.file = open(os.path.join(folder, "record.jsonl"), "ab", buffering=0)
        self.attempts = collections.Counter()
        drop = options.get("drop", {"fraction": 0, "seed": 0})
        self.fraction = drop["fraction"]
        self.random = random.Random(drop["seed"])
        self.connections, self.most_connections = set(), 0

    def connected(self, conversation):
        self.connections.add(conversation)
        if len(self.connections) > self.most_connections:
            self.most_connections = len(self.connections)
            with open(os.path.join(self.folder, "connections"), "w", encoding="ascii") as file:
                file.write(str(self.most_connections))

    def record(self, **fields):
        self.file.write(json.dumps({"time": time.time(), **fields}).encode() + b"\n")

    def is_away(self):
        return os.path.exists(self.away_file)

    def cut_point(self, points):
        """Where the next message is cut, if it is."""
        return self.random.choice(points) if self.random.random() < self.fraction else None

    def behaviour(self, address):
        """(name, number) of a recipient."""
        text = self.options.get("everybody") or address.rpartition("@")[0].partition(".")[0]
        found = BEHAVIOUR.fullmatch(text)
        if not found:
            return None, 0
        return found["name"] or found["word"], int(found["number"] or 0)

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return [line for line in responses if self.options.get("auth") or not line.startswith("250-AUTH")]

    async def handle_RCPT(self, server, session, envelope, address, options):
        name, number = self.behaviour(address)
        server.recipients.append(address)
        self.attempts[address] += 1
        if name == "code":
            return answer(number)
        if name == "greylist" and self.attempts[address] == 1:
            return answer(451)
        if name == "then-ok" and self.attempts[address] <= number:
            return answer(450)
        if name == "trickle":
            server.trickles = True
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        behaviours = [self.behaviour(address) for address in envelope.rcpt_tos]
        names = [name for name, _ in behaviours]
        if server.cut_at == "dot":
            return await server.cut("dot")
        if "stall-dot" in names:
            await server.stall("dot")
        for name, number in behaviours:
            if name == "data":
                return answer(number)
        self.record(
            kind="mail",
            peer=peer(session),
            mail_from=envelope.mail_from,
            rcpt_tos=envelope.rcpt_tos,
            tls=session.ssl is not None or self.options.get("tls") == "implicit",
            user=session.auth_data.login.decode() if session.authenticated else None,
            data="" if self.options.get("forget") else base64.b64encode(envelope.original_content).decode(),
        )
        if "cut-before-250" in names:
            return await server.cut("dot")
        if "cut-after-250" in names:
            await server.push("250 2.0.0 OK")
            return await server.cut("dot")
        return "250 2.0.0 OK"

    def authenticates(self, mechanism, login, password):
        auth = self.options["auth"]
        return login.decode() == auth["user"] and "password" in auth and password.decode() == auth["password"]


class Conversation(SMTP):
    """One connection. aiosmtpd speaks the protocol; this is where it is disturbed."""

    def __init__(self, sink, **arguments):
        super().__init__(sink, **arguments)
        self.sink = sink
        self.at = "greeting"
        # The mail under way, also after aiosmtpd has let go of its envelope.
        self.mail_from, self.recipients = None, []
        self.trickles = sink.options.get("everybody") == "trickle"
        self.cut_at = sink.cut_point(["greeting", *CUT_POINTS])
        self._smtp_methods = {name: self.disturbed(name, method) for name, method in self._smtp_methods.items()}

    def connection_made(self, transport):
        super().connection_made(transport)
        self.sink.connected(self)

    def connection_lost(self, error):
        self.sink.connections.discard(self)
        super().connection_lost(error)

    def disturbed(self, name, method):
        async def run(argument):
            self.at = name
            self.mail_from, self.recipients = self.envelope.mail_from, list(self.envelope.rcpt_tos)
            if name == "MAIL":
                self.trickles = self.sink.options.get("everybody") == "trickle"
            if self.sink.is_away():
                await self.say_goodbye()
            elif self.cut_at == name:
                await self.cut(name)
            else:
                if name == "DATA" and any(self.sink.behaviour(one)[0] == "stall-data" for one in self.recipients):
                    await self.stall(name)
                await method(argument)
                if name == "DATA":
                    self.cut_at = self.sink.cut_point(CUT_POINTS)

        return run

    async def push(self, status):
        text = status if isinstance(status, str) else status.decode()
        if self.at == "greeting":
            if self.sink.is_away():
                return await self.say_goodbye()
            if self.cut_at == "greeting":
                return await self.cut("greeting")
        if text[:1] in "45":
            self.record_refusal(self.at, int(text[:3]), text[4:])
        await self.send(text)

    async def send(self, text):
        if not self.trickles:
            return await super().push(text)
        for byte in (text + "\r\n").encode():
            self._writer.write(bytes([byte]))
            await self._writer.drain()
            await asyncio.sleep(1)

    async def say_goodbye(self):
        self.record_refusal(self.at, 421, "away")
        await self.send("421 4.3.2 away")
        self.transport.close()

    async def cut(self, at):
        self.record_refusal(at, 0, "cut")
        self._writer.transport.abort()
        # Ended by the loss of the connection, so that nobody writes to it.
        await asyncio.sleep(LONGEST)

    async def stall(self, at):
        self.record_refusal(at, 0, "stalled")
        await asyncio.sleep(LONGEST)

    def record_refusal(self, at, code, text):
        self.sink.record(
            kind="refusal",
            peer=peer(self.session),
            mail_from=self.mail_from,
            rcpt_tos=self.recipients,
            at=at,
            code=code,
            text=text,
        )


def answer(code):
    return f"{code} {code // 100}.0.0 as the address says"


def peer(session):
    return "{}:{}".format(*session.peer[:2])


def tls_context(folder):
    """An authority and a certificate of it: a certificate that is its own authority is refused by some clients."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    with open(os.path.join(folder, "extensions"), "w", encoding="ascii") as file:
        file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=sink authority")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650", "-extfile", "extensions"]
    openssl("x509", "-req", "-in", "server.csr", *authority, "-out", "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server.key"))
    return context


async def serve(folder, options):
    loop = asyncio.get_running_loop()
    sink = Sink(folder, options)
    # That AUTH without STARTTLS is insecure, and what is deprecated within aiosmtpd.
    warnings.simplefilter("ignore")
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    tls, auth = options.get("tls"), options.get("auth")
    context = tls_context(folder) if tls else None
    arguments = {"hostname": "sink.test", "enable_SMTPUTF8": True, "timeout": LONGEST, "loop": loop}
    if tls == "starttls":
        arguments |= {"tls_context": context, "require_starttls": True}
    if auth:
        arguments |= {"auth_required": True, "auth_callback": sink.authenticates, "auth_require_tls": tls == "starttls"}
    if only := options.get("mechanism"):
        arguments |= {"auth_exclude_mechanism": {"PLAIN", "LOGIN"} - {only}}
    implicit = context if tls == "implicit" else None
    server = await loop.create_server(lambda: Conversation(sink, **arguments), "127.0.0.1", 0, ssl=implicit, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    # Conversations that stand still would keep the loop.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], json.loads(sys.argv[2])))
