/* SPDX-License-Identifier: MIT */
/*
 * The claim slots: one repairer for an extent.
 *
 * Stands for src/fault/claim_sig.c (claim, release, wait) and the taking and
 * giving back of walk slots in src/fault/walk_sig.c.
 *
 * A thread that faults takes a free slot of a fixed table, announces WANT|key
 * in it, looks at every other slot, and holds the key if none is in the way:
 *
 *	in the way         answer
 *	HOLD               back off, wait until that slot is released
 *	WANT, lower slot   the same: the lower of two goes first
 *	WANT, higher slot  spin: it will back off, or has won already
 *	a slot of my own   back off, never wait: this action has failed
 *
 * Under the claim it probes again, because the fault may be an old one, and
 * replaces only what is still poisoned.
 *
 * Left out or made coarser:
 * - One access to a slot's field is one step and all are seen in one order,
 *   which is what seq_cst on owner, word, gen and waiters gives. A WANT that
 *   becomes visible only after the look is BREAK_LOOK_THEN_STORE.
 * - A key is a set of pages, a bit each; two keys overlap if a bit is common.
 * - Any free slot may be taken, whatever order the code tries them in.
 * - gen is a byte that never wraps here; the code's wraps after 2^32 releases
 *   of a slot within one wait.
 * - A waiter whose deadlines ran out climbs the ladder. Takeover of a claim
 *   is not modelled.
 * - Nothing faults between WANT and HOLD, and a thread that spins does so until
 *   the other goes on: the code touches nothing but the table in between.
 * - What a thread does after unwinding is not: its fault has ended.
 *
 * Settings (the cases are in claims.cases):
 *	SETUP		who touches what, see init
 *	SLOTS		size of the table
 *	ROUNDS		how many pages each thread touches, one after the other
 *	DEADLINES	timeouts before a waiter climbs; 0: they never expire,
 *			so that a lost wake-up is a deadlock
 *	REPOISON	page 0 is lost a second time
 *	BREAK_*		a fault put in on purpose
 *	WITNESS_BOTH	fails where both pages are being repaired at once: the
 *			search must find such a run
 */
#define SAME	1	/* three threads, one page */
#define MIXED	2	/* page 0, page 1, and an extent that covers both */
#define APART	3	/* two threads, a page each */
#define MIRROR	4	/* the same, each page is the other's source */
#define SELF	5	/* one thread, pages as in MIRROR */

#ifndef SETUP
#define SETUP		SAME
#endif
#ifndef SLOTS
#define SLOTS		3
#endif
#ifndef ROUNDS
#define ROUNDS		1
#endif
#ifndef DEADLINES
#define DEADLINES	0
#endif

#if SETUP == SAME || SETUP == MIXED
#define THREADS		3
#elif SETUP == SELF
#define THREADS		1
#else
#define THREADS		2
#endif

#if SETUP == MIRROR || SETUP == SELF
#define MIRRORED	1
#define DEPTH		3
#else
#define MIRRORED	0
#define DEPTH		1
#endif

#define PAGES		2
#define OTHER(p)	(1 - (p))

/* A slot's word: one of these and a key, or 0. */
#define KEY(p)		(1 << (p))
#define BOTH		3
#define WANT		4
#define HOLD		8

/* What a page is. EMPTY: registered for missing faults, touching it waits. */
#define GOOD		0
#define POISON		1
#define EMPTY		2
#define NEWDATA		3
#define LOST		4

/* The faults put in on purpose, where they are a choice of a word. */
#ifdef BREAK_BOTH_SPIN
#define GOES_FIRST(s)	false
#else
#define GOES_FIRST(s)	((s) < me)
#endif
#ifdef BREAK_OWN_WAITS
#define REFUSE_OWN	false
#else
#define REFUSE_OWN	true
#endif
#ifdef BREAK_BACK_OFF_NO_WAKE
#define TELL_BACK_OFF	false
#else
#define TELL_BACK_OFF	true
#endif
#ifdef BREAK_NO_PROBE
#define PROBE(p)	true
#else
#define PROBE(p)	(page[p] == POISON)
#endif
#if defined(BREAK_NO_RECHECK)
#define STILL_TAKEN	true
#elif defined(BREAK_NO_SLEEP)
#define STILL_TAKEN	false
#else
#define STILL_TAKEN	(slot[j].word & key)
#endif

/* More releases of one slot than any run needs: nobody retries for ever. */
#define GEN_LIMIT	100

typedef slot_t {
	byte owner;	/* 0 or thread + 1, by compare-and-swap */
	byte word;
	byte gen;	/* futex; counts releases, goes on over reuse */
	byte waiters
}

slot_t slot[SLOTS];
byte page[PAGES];
byte asleep[THREADS];	/* the kernel's: slot + 1 whose futex it sleeps on */
byte holders[PAGES];	/* ghost: threads that hold a key with this page */
byte ended;		/* ghost: threads that are through */

#define COVERS(k, p)	((k) >> (p) & 1)

/* futex_wake of my slot; looking for waiters is a step of its own. */
inline wake_all(tell)
{
	if
	:: tell && slot[me].waiters > 0 ->
		d_step {
			n = 0;
			do
			:: n < THREADS ->
				if
				:: asleep[n] == me + 1 -> asleep[n] = 0
				:: else
				fi;
				n++
			:: else -> break
			od;
			n = 0
		}
	:: else
	fi
}

/* Give up WANT or HOLD, and tell those who wait for it. */
inline let_go(tell)
{
#ifdef BREAK_WAKE_FIRST
	wake_all(tell);
#endif
	d_step {
		if
		:: slot[me].word & HOLD ->
			holders[0] = holders[0] - COVERS(key, 0);
			holders[1] = holders[1] - COVERS(key, 1)
		:: else
		fi;
		slot[me].word = 0
	}
#ifndef BREAK_NO_GEN
	d_step {
		assert(slot[me].gen < GEN_LIMIT);
		slot[me].gen++
	}
#endif
#ifndef BREAK_WAKE_FIRST
	wake_all(tell)
#endif
}

/* Others may take the slot now. What is forgotten here saves states. */
inline give_back()
{
	slot[me].owner = 0;
	me = 0;
	key = 0;
	j = 0;
	w = 0;
	g = 0;
	q = 0;
	own = false
}

/* Back in the fault whose source was read one depth further in. */
inline outer_fault()
{
	d_step {
		me = mine[depth];
		q = at[depth];
		key = KEY(q);
		late = 0
	}
}

#if SLOTS == 2
#define TABLE_FULL	(slot[0].owner && slot[1].owner)
#elif SLOTS == 3
#define TABLE_FULL	(slot[0].owner && slot[1].owner && slot[2].owner)
#elif SLOTS == 4
#define TABLE_FULL	(slot[0].owner && slot[1].owner && \
			 slot[2].owner && slot[3].owner)
#endif

#define TAKE(s) atomic { slot[s].owner == 0 -> \
			 slot[s].owner = tid + 1; me = s }

proctype thread(byte tid; byte first; bool wide)
{
	byte at[DEPTH];		/* the page touched at each depth */
	byte mine[DEPTH];	/* the slot of the fault at each depth */
	byte depth, rounds, late;
	byte me, key, j, w, g, q, n;
	bool own;

	at[0] = first;

touch:	/* the instruction runs, or runs again; EMPTY waits in the kernel */
	if
	:: page[at[depth]] == POISON
	:: atomic { page[at[depth]] == LOST -> goto failed }
	:: atomic {
		page[at[depth]] == GOOD || page[at[depth]] == NEWDATA;
		if
#if MIRRORED
		:: depth > 0 -> depth--; goto source_read
#endif
		:: depth == 0 -> page[at[0]] = NEWDATA; goto done
		:: depth == 0 -> goto done
		fi }
	fi;

	/* a fault: take a slot; a full table waits */
	if
	:: TAKE(0)
	:: TAKE(1)
#if SLOTS > 2
	:: TAKE(2)
#endif
#if SLOTS > 3
	:: TAKE(3)
#endif
#if DEADLINES > 0
	:: TABLE_FULL -> goto failed
#endif
	fi;
	d_step {
		mine[depth] = me;
		key = (wide -> BOTH : KEY(at[depth]));
		own = false;
		j = 0
	}

	/* claim */
#ifndef BREAK_LOOK_THEN_STORE
	slot[me].word = WANT | key;
#endif
	do
	:: j == SLOTS -> break
	:: j == me -> j++
	:: atomic {
		j < SLOTS && j != me;
		w = slot[j].word;
		if
		:: !(w & key) -> j++
		:: (w & key) && slot[j].owner == tid + 1 ->
			own = REFUSE_OWN;
			goto back_off
		:: (w & key) && slot[j].owner != tid + 1 &&
		   ((w & HOLD) || GOES_FIRST(j)) ->
			goto back_off
		:: else ->
#ifdef BREAK_NO_TIE_WAIT
			j++
#else
			slot[j].word != w
#endif
		fi }
	od;
	atomic {
		slot[me].word = HOLD | key;
		holders[0] = holders[0] + COVERS(key, 0);
		holders[1] = holders[1] + COVERS(key, 1);
		assert(holders[0] <= 1 && holders[1] <= 1);
		q = 0
	}

	/* under the claim: replace what is still poisoned */
	do
	:: q == PAGES -> goto release
	:: q < PAGES && !COVERS(key, q) -> q++
	:: q < PAGES && COVERS(key, q) ->
		if
		:: PROBE(q) ->
#ifdef BREAK_PUNCH_FIRST
			page[q] = EMPTY;
#endif
#if MIRRORED
			d_step {
				depth++;
				at[depth] = OTHER(q);
				late = 0
			}
			goto touch;
source_read:
			outer_fault();
#endif
#ifndef BREAK_PUNCH_FIRST
			atomic {
				assert(page[q] == POISON);
				page[q] = EMPTY
			}
#endif
#ifdef WITNESS_BOTH
			/* two keys do not exclude each other: this happens */
			assert(page[0] != EMPTY || page[1] != EMPTY);
#endif
			page[q] = GOOD
		:: else
		fi;
		q++
	od;

release:
	let_go(true);
	atomic { give_back(); goto touch }

back_off:
	let_go(TELL_BACK_OFF);
	if
	:: atomic { own -> give_back(); goto failed }
	:: else
	fi;

	/* wait until slot j is released */
	g = slot[j].gen;
	slot[j].waiters++;
	if
	:: STILL_TAKEN ->
		if
		:: atomic { slot[j].gen == g -> asleep[tid] = j + 1 }
		:: else
		fi;
		if
		:: asleep[tid] == 0
#if DEADLINES > 0
		:: atomic { asleep[tid] != 0 -> asleep[tid] = 0; late++ }
#endif
		fi
	:: else
	fi;
	slot[j].waiters--;
	atomic {
		give_back();
		if
		:: DEADLINES > 0 && late == DEADLINES -> goto failed
		:: else -> goto touch
		fi
	}

failed:	/* this action; the ladder goes on, from the outermost fault */
#if MIRRORED
	if
	:: depth > 0 ->
		depth--;
		outer_fault();
		page[q] = LOST;
		goto release
	:: else
	fi;
#endif

done:
	late = 0;
	rounds++;
	if
	:: rounds < ROUNDS -> at[0] = OTHER(at[0]); goto touch
	:: else -> ended++
	fi
}

#ifdef REPOISON
active proctype hwpoison()
{
	atomic {
		ended == THREADS || page[0] == GOOD || page[0] == NEWDATA;
		page[0] = (ended == THREADS -> page[0] : POISON)
	}
}
#endif

init {
	byte i;

	atomic {
		page[0] = POISON;
		page[1] = POISON;
#if SETUP == SAME
		run thread(0, 0, false);
		run thread(1, 0, false);
		run thread(2, 0, false)
#elif SETUP == MIXED
		run thread(0, 0, false);
		run thread(1, 1, false);
		run thread(2, 0, true)
#elif SETUP == SELF
		run thread(0, 0, false)
#else
		run thread(0, 0, false);
		run thread(1, 1, false)
#endif
	}

	/* every fault ends, and leaves nothing behind */
	d_step {
		ended == THREADS;
		do
		:: i < SLOTS ->
			assert(slot[i].owner == 0 && slot[i].word == 0);
			assert(slot[i].waiters == 0);
			i++
		:: else -> break
		od
	}
}
