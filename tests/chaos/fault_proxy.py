"""A TCP proxy that can cut all its connections, refuse new ones, hold bytes back for a while, and swallow answers."""
import asyncio
import threading


class FaultProxy:
    """Forwards to host:port, or to the path of a Unix socket, from a port of its own, on a thread of its own."""

    def __init__(self, target):
        self.target = target
        self.delay = 0.0
        # Answers are lost from then on: every connection is to be cut before it is false again.
        self.swallow = False
        self.refuse = False
        self.writers = set()
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(started,), daemon=True)
        self.thread.start()
        started.wait()

    def run(self, started):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()

    async def serve(self, reader, writer):
        if self.refuse:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await self.connect()
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self.pump(reader, far_writer, False), self.pump(far_reader, writer, True))

    async def connect(self):
        if self.target.startswith("/"):
            return await asyncio.open_unix_connection(self.target)
        host, port = self.target.rsplit(":", 1)
        return await asyncio.open_connection(host, int(port))

    async def pump(self, reader, writer, answers):
        self.writers.add(writer)
        try:
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if answers and self.swallow:
                    continue
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()
        finally:
            self.writers.discard(writer)

    def cut(self):
        """Ends every connection as a broken network does."""

        def abort():
            for writer in list(self.writers):
                writer.transport.abort()

        self.loop.call_soon_threadsafe(abort)

    def stop(self):
        self.cut()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=10)
