/* The lease protocol: what storage/job_store.cc and storage/lease_store.cc do to the rows of one job, with workers that
   crash or fall silent, a server that restarts and a database that goes away, in every order.

   An `atomic` block is one SQL statement, or one transaction whose rows nobody else can see or change meanwhile. Ending
   an attempt takes two: the lease's row is locked (SELECT ... WHERE job_id AND fence FOR UPDATE; for the reaper with SKIP
   LOCKED), then the job's row is changed and all is committed. What becomes of the job was decided by a look at it before:
   where a cancel came since (`saw_cancel` is wrong), nothing is changed, and the end is tried anew. `owner` is the row lock;
   an outage rolls the transaction back.

   Time is a process that may let any lease expire at any moment, so every pause of a worker is covered. Workers crash,
   heartbeats come, servers restart and databases go away any number of times. Only with LIVENESS, where the claim is that
   every job ends, are there CRASHES crashes and one outage at most, one heartbeat between two other steps, and one owner who
   cancels.

   -D flags choose a fault that the check must find: NO_FENCE, REAP_WITHOUT_GUARD, PUBLISH_AFTER_CANCEL,
   NO_FRESH_TERM, NO_REQUEUE. tests/protocol/test_lease_model.py runs them all. */

#define JOBS 2
#define WORKERS 2
#ifndef ATTEMPTS
#define ATTEMPTS 3
#endif
/* With LIVENESS. */
#ifndef CRASHES
#define CRASHES 1
#endif
#define REAPER (WORKERS + 1)

mtype = { PENDING, RUNNING, CANCELLING, SUCCEEDED, FAILED, CANCELLED };
mtype = { succeeded, failed, failed_for_good };

typedef Job {
  mtype state = PENDING;
  byte fence;
  byte attempts;        /* that lost their worker or failed; in the rows each has its own count */
  bool ready = true;    /* a row of job_ready stands */
  byte lease;           /* the fence of the job's row in job_lease; 0: there is none */
  byte owner;           /* who has that row locked in an open transaction; 0: nobody */
  bool expired;         /* lease_until < now() */
  bool unheard;         /* it expired while no heartbeat could get through */
  byte published;
  bool cancel_acknowledged
};

Job job[JOBS];
bool server_up = true;
bool database_up = true;
/* What the reaper knows: it did not scan for a while (of a new server: never). */
bool outage_seen = true;

#ifdef LIVENESS
byte crashes = CRASHES;
#define MAY_CRASH crashes > 0
#define CRASHED crashes--
#define MAY_BEAT !beaten
#define BEATEN beaten = true
#else
#define MAY_CRASH true
#define CRASHED skip
#define MAY_BEAT true
#define BEATEN skip
#endif

#define UP (server_up && database_up)
#define FINAL(j) (job[j].state == SUCCEEDED || job[j].state == FAILED || job[j].state == CANCELLED)
#define DONE (FINAL(0) && FINAL(1))
/* A job is in the queue, or leased, or ended: never nowhere, never in two places. */
#define WHOLE(j) ((job[j].ready == (job[j].state == PENDING)) && \
                  ((job[j].lease != 0) == (job[j].state == RUNNING || job[j].state == CANCELLING)))

#ifdef NO_FENCE
#define HOLDS(j, f) (job[j].lease != 0)
#else
#define HOLDS(j, f) (job[j].lease == f)
#endif

inline requeue(j) {
  job[j].state = PENDING;
#ifndef NO_REQUEUE
  job[j].ready = true
#endif
}

/* Nothing looks at an ended job's counts any more. */
inline finalize(j, final) {
  job[j].state = final;
  job[j].attempts = 0;
  job[j].fence = 0
}

inline drop_lease(j) {
  job[j].lease = 0;
  job[j].owner = 0;
  job[j].expired = false;
  job[j].unheard = false
}

/* Artifacts and state, in the transaction that ends the lease. */
inline publish(j, f, final) {
  assert(job[j].published == 0);
  assert(!job[j].cancel_acknowledged);
  assert(job[j].fence == f);
  job[j].published++;
  finalize(j, final)
}

/* For an attempt that failed, that the watchdog ended, or that lost its worker. */
inline fail_or_requeue(j) {
  job[j].attempts++;
  if
  :: job[j].attempts >= ATTEMPTS -> finalize(j, FAILED)
  :: else -> requeue(j)
  fi
}

/* LeaseStore::Claim. The answer may be lost: that is a crash right after it. */
inline claim(id) {
  j = id;
  job[j].ready = false;
  job[j].state = RUNNING;
  job[j].fence++;
  f = job[j].fence;
  job[j].lease = f
}

/* The worker knows of no lease any more. */
inline forget() {
  beaten = false; saw_cancel = false; j = 0; f = 0; outcome = 0;
  goto end_idle
}

proctype Worker(byte me) {
  byte j;
  byte f;
  bool beaten;
  bool saw_cancel;
  mtype outcome;

end_idle:
  if
  :: atomic { UP && job[0].ready && job[0].state == PENDING -> claim(0) }
  :: atomic { UP && job[1].ready && job[1].state == PENDING -> claim(1) }
  :: DONE -> goto end
  fi;

working:
  if
  :: atomic { MAY_CRASH -> CRASHED; forget() }
  /* LeaseStore::Heartbeat; its UPDATE waits for whoever has the row locked. */
  :: atomic { MAY_BEAT && UP && job[j].owner == 0 ->
      BEATEN;
      if
      :: HOLDS(j, f) -> job[j].expired = false; job[j].unheard = false
      :: else -> forget()
      fi };
    goto working
  /* LeaseStore::Finish: a look, then the lease's row. */
  :: atomic { UP && job[j].owner == 0 ->
      if
      :: HOLDS(j, f) -> job[j].owner = me; saw_cancel = (job[j].state == CANCELLING)
      :: else -> forget()
      fi;
      if
      :: outcome = succeeded
      :: outcome = failed
      :: outcome = failed_for_good
      fi }
  fi;
  atomic {
    if
    /* An outage rolled the transaction back; the agent sends the outcome again. */
    :: job[j].owner != me -> saw_cancel = false; outcome = 0; goto working
#ifndef PUBLISH_AFTER_CANCEL
    :: job[j].owner == me && saw_cancel != (job[j].state == CANCELLING) ->
      job[j].owner = 0; saw_cancel = false; outcome = 0; goto working
#endif
    :: else ->
      drop_lease(j);
      if
#ifndef PUBLISH_AFTER_CANCEL
      :: job[j].state == CANCELLING -> finalize(j, CANCELLED)
      :: job[j].state == RUNNING && outcome == succeeded -> publish(j, f, SUCCEEDED)
#else
      :: job[j].state == CANCELLING && outcome != succeeded -> finalize(j, CANCELLED)
      :: outcome == succeeded -> publish(j, f, SUCCEEDED)
#endif
      :: job[j].state == RUNNING && outcome == failed -> fail_or_requeue(j)
      /* The report that says why. */
      :: job[j].state == RUNNING && outcome == failed_for_good -> publish(j, f, FAILED)
      fi
    fi;
    /* The answer arrives, or is lost and the outcome is sent again. */
    if
    :: forget()
    :: saw_cancel = false; outcome = 0; goto working
    fi
  };
end:
  skip
}

inline lock(id) {
  j = id;
#ifndef REAP_WITHOUT_GUARD
  job[j].owner = REAPER;
#endif
  saw_cancel = (job[j].state == CANCELLING);
  assert(!job[j].unheard)
}

proctype Reaper() {
  byte j;
  bool saw_cancel;

end_scan:
  do
  :: DONE -> break
  /* LeaseStore::ExtendAll; its UPDATE waits for whoever has a row locked. */
  :: atomic { UP && outage_seen && job[0].owner == 0 && job[1].owner == 0 ->
      outage_seen = false;
#ifndef NO_FRESH_TERM
      job[0].expired = false; job[0].unheard = false;
      job[1].expired = false; job[1].unheard = false
#endif
    }
  /* LeaseStore::Reap: the row is looked at again when it is locked, so that both are one step. */
  :: atomic { UP && !outage_seen && job[0].lease != 0 && job[0].expired && job[0].owner == 0 -> lock(0); goto reap }
  :: atomic { UP && !outage_seen && job[1].lease != 0 && job[1].expired && job[1].owner == 0 -> lock(1); goto reap }
  od;
  goto end;

reap:
  atomic {
    if
#ifndef REAP_WITHOUT_GUARD
    :: job[j].owner != REAPER -> saw_cancel = false; j = 0; goto end_scan
    :: job[j].owner == REAPER && saw_cancel != (job[j].state == CANCELLING) ->
      job[j].owner = 0; saw_cancel = false; j = 0; goto end_scan
#endif
    :: else ->
      drop_lease(j);
      if
      :: job[j].state == CANCELLING -> finalize(j, CANCELLED)
      :: else -> fail_or_requeue(j)
      fi;
      saw_cancel = false; j = 0
    fi
  };
  goto end_scan;
end:
  skip
}

/* JobStore::Cancel, at any moment. */
proctype Client(byte j) {
end_client:
  do
  :: atomic { UP && job[j].state == PENDING && job[j].ready ->
      job[j].ready = false; finalize(j, CANCELLED); job[j].cancel_acknowledged = true }; break
  :: atomic { UP && job[j].state == RUNNING ->
      job[j].state = CANCELLING; job[j].cancel_acknowledged = true }; break
  :: FINAL(j) -> break
#ifdef LIVENESS
  /* This owner never cancels. */
  :: break
#endif
  od
}

proctype Clock() {
end_clock:
  do
  :: DONE -> break
  :: atomic { job[0].lease != 0 && !job[0].expired && job[0].owner == 0 -> job[0].expired = true; job[0].unheard = !UP }
  :: atomic { job[1].lease != 0 && !job[1].expired && job[1].owner == 0 -> job[1].expired = true; job[1].unheard = !UP }
  od
}

/* Open transactions end with the server's connections. A new server has never scanned; an old one notices an outage by
   the gap between its scans. */
inline go_down(what) {
  what = false;
  job[0].owner = 0;
  job[1].owner = 0
}

proctype Failures() {
#ifdef LIVENESS
  if
  :: skip
  :: atomic { go_down(server_up) }; atomic { server_up = true; outage_seen = true }
  :: atomic { go_down(database_up) }; atomic { database_up = true; outage_seen = true }
  fi
#else
end_failures:
  do
  :: atomic { UP -> go_down(server_up) }
  :: atomic { UP -> go_down(database_up) }
  :: atomic { !server_up -> server_up = true; outage_seen = true }
  :: atomic { !database_up -> database_up = true; outage_seen = true }
  od
#endif
}

/* Looks at every state between two blocks. */
proctype Monitor() {
end_monitor:
  atomic { !(WHOLE(0) && WHOLE(1)) || job[0].published > 1 || job[1].published > 1 -> assert(false) }
}

init {
  atomic {
    run Worker(1);
    run Worker(2);
    run Reaper();
    run Clock();
    run Client(0);
    run Failures();
#ifndef LIVENESS
    run Client(1);
    run Monitor()
#endif
  }
}

/* Every job ends, whatever happens, as long as each process goes on. */
ltl every_job_ends { <> (DONE) }
