"""The faults of a chaos run. Each is a method that does its harm, mends it where a person would, and returns nothing."""
import os
import signal
import time

# How long things that stand still do so, in seconds; leases last LEASE_SECONDS.
LEASE_SECONDS = 8


class Faults:
    """Harms one world (world.World). `harms` tells what happened to workers when, `outages` when all leases were given a fresh term."""

    def __init__(self, world, rng):
        self.world = world
        self.rng = rng
        self.harms = []
        self.outages = []

    def all(self):
        return [self.kill_trainer, self.kill_agent, self.stop_agent_briefly, self.stop_agent_for_long, self.stop_trainer,
                self.kill_server, self.stop_server, self.stop_second_server, self.restart_postgres, self.terminate_backends,
                self.idle_connections, self.hold_transaction, self.cut_network, self.delay_network, self.cut_database,
                self.delay_database]

    def do(self, fault):
        """Does one of all()."""
        begin = time.time()
        fault()
        if fault in (self.kill_server, self.stop_server, self.stop_second_server, self.restart_postgres, self.terminate_backends,
                     self.idle_connections, self.cut_database):
            self.outages.append((begin, time.time()))

    def harm(self, agent, begin):
        self.harms.append((agent.worker_id(), begin, time.time()))

    def kill_trainer(self):
        pids = self.world.trainer_pids()
        if pids:
            kill(self.rng.choice(pids), signal.SIGKILL)

    def stop_trainer(self):
        """A trainer that stands still goes on where it was, or is taken back as stalled."""
        pids = self.world.trainer_pids()
        if pids:
            pid = self.rng.choice(pids)
            kill(pid, signal.SIGSTOP)
            time.sleep(2)
            kill(pid, signal.SIGCONT)

    def kill_agent(self):
        agent = self.rng.choice(self.world.agents)
        begin = time.time()
        agent.kill()
        agent.start()
        self.harm(agent, begin)

    def stop_agent(self, seconds):
        agent = self.rng.choice(self.world.agents)
        begin = time.time()
        kill(agent.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        kill(agent.process.pid, signal.SIGCONT)
        return agent, begin

    def stop_agent_briefly(self):
        self.stop_agent(LEASE_SECONDS / 4)

    def stop_agent_for_long(self):
        """It comes back as a zombie, whose lease went to another worker."""
        agent, begin = self.stop_agent(LEASE_SECONDS * 1.5)
        self.harm(agent, begin)

    def kill_server(self):
        begin = time.time()
        if self.rng.random() < 0.5:
            agents = self.world.agents_of_second()
            self.world.second.kill()
        else:
            agents = self.world.agents_of_first()
            self.world.service.kill(self.world.service.server_pid())
        self.world.up()
        # The other server takes back what it does not hear of for a term.
        if time.time() - begin > LEASE_SECONDS / 4:
            for agent in agents:
                self.harm(agent, begin)

    def stop_server(self):
        """Both stand still, as their host does: with one of two, the other would take its agents' jobs."""
        self.stand_still([self.world.service.server_pid(), self.world.second.process.pid])

    def stop_second_server(self):
        """The other server goes on, and takes back what it does not hear of."""
        begin = time.time()
        self.stand_still([self.world.second.process.pid])
        for agent in self.world.agents_of_second():
            self.harm(agent, begin)

    def stand_still(self, pids):
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS * 1.2)
        for pid in pids:
            kill(pid, signal.SIGCONT)

    def restart_postgres(self):
        self.world.kill_postgres()
        time.sleep(self.rng.uniform(0, LEASE_SECONDS * 1.2))
        self.world.up()

    def terminate_backends(self):
        for _ in range(5):
            self.world.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                           "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()", check=False)
            time.sleep(0.2)

    def idle_connections(self):
        """Three hundred of them, more than PostgreSQL takes: whoever comes next is refused."""
        sessions = [self.world.idle_session() for _ in range(300)]
        self.world.terminate_backends_of_servers()
        time.sleep(3)
        for session in sessions:
            session.close()

    def hold_transaction(self):
        session = self.world.session()
        session.stdin.write(b"BEGIN; SELECT count(*) FROM job; SELECT count(*) FROM job_lease;\n")
        session.stdin.flush()
        time.sleep(4)
        session.stdin.close()
        session.wait()

    def cut_network(self):
        agents = [agent for agent in self.world.agents if agent.proxy]
        begin = time.time()
        seconds = self.rng.choice([0, 1, LEASE_SECONDS * 1.2])
        for agent in agents:
            agent.proxy.refuse = seconds > 0
            agent.proxy.cut()
        time.sleep(seconds)
        for agent in agents:
            agent.proxy.refuse = False
            self.harm(agent, begin)

    def delay_network(self):
        proxies = [agent.proxy for agent in self.world.agents if agent.proxy]
        for proxy in proxies:
            proxy.delay = 0.2
        time.sleep(3)
        for proxy in proxies:
            proxy.delay = 0.0

    def cut_database(self):
        """Between the second server and PostgreSQL."""
        begin = time.time()
        seconds = self.rng.choice([0, 1, LEASE_SECONDS * 1.2])
        proxy = self.world.second.database
        proxy.refuse = seconds > 0
        proxy.cut()
        time.sleep(seconds)
        proxy.refuse = False
        for agent in self.world.agents_of_second():
            self.harm(agent, begin)

    def delay_database(self):
        self.world.second.database.delay = 0.2
        time.sleep(3)
        self.world.second.database.delay = 0.0


def kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # It ended by itself first, as trainers do.
        return
