/* SPDX-License-Identifier: MIT */
/*
 * Model of a page of shared memory (src/repair/share.h, src/replace_sig.c): who
 * of several processes replaces it, what the others see meanwhile, and what
 * becomes of it if that one is killed at any step.
 *
 *	touch	a good page: write to it. Poison, in the file or in the own page
 *		table, and a hole behind the fence: a fault
 *	fault	lock the page in the file; who cannot at once says so
 *	look	drop the own entry, ask the file: good: touch again
 *	punch	poison out of the file: a hole
 *	fill	if there is a hole
 *	unlock	the kernel does it for one that dies
 *
 *	read	(bez_shared_pread) unless somebody said so: lock to read; is there a
 *		hole?; read; unlock
 *
 * Abstractions:
 * - A thread for each process: within one, claims.pml is what holds.
 * - The lock is waited for; the code polls it, with a deadline.
 * - A source that fails is not modelled: it leaves the page as it is.
 *
 * Settings (the cases are in shared.cases):
 *	USERS		how many map the page
 *	READS		how often the reader reads
 *	KILLS		how many are killed, at any step of theirs
 *	LOSSES		how often the page is lost
 *	FOREVER		the reader reads for ever; for starvation
 *	BREAK_*		a fault put in on purpose
 *	WITNESS_HOLE	fails where one was killed between punch and fill: the
 *			search must find such a run
 */
#ifndef USERS
#define USERS		3
#endif
#ifndef READS
#define READS		1
#endif
#ifndef KILLS
#define KILLS		1
#endif
#ifndef LOSSES
#define LOSSES		1
#endif

/* What the file has at the page. */
#define GOOD		0
#define NEWDATA		1	/* written since it was good */
#define POISON		2
#define HOLE		3
#define ZERO		4	/* a hole that somebody touched without a fence */

/* What a process has of it in its page table. */
#define NONE		0
#define HAS		1
#define BAD		2

byte file;
byte entry[USERS];
byte writer;		/* 0, or 1 + who has the lock */
byte readers;		/* who have it to read */
byte said;		/* 0, or 1 + who waits for it */
bool doomed[USERS];
byte ended, fills, losses;	/* ghosts */
bool widowed;			/* ghost: a hole was left by one that died */

#define FREE		(writer == 0 && readers == 0)
#define IS_GOOD		(file == GOOD || file == NEWDATA)

#ifdef BREAK_NO_FENCE
#define FENCED		false
#else
#define FENCED		true
#endif
#ifdef BREAK_HOLE_IS_GOOD
#define LOOKS_GOOD	(IS_GOOD || file == HOLE)
#else
#define LOOKS_GOOD	IS_GOOD
#endif
#ifdef BREAK_SAYS_NOTHING
#define MAY_READ	(writer == 0)
#else
#define MAY_READ	(writer == 0 && said == 0)
#endif

inline punch()
{
	atomic {
		/* good data, or what another has filled, is not thrown away */
		assert(file == POISON);
		file = HOLE
	}
}

inline lock()
{
	do
	:: atomic { FREE -> writer = me + 1; break }
	:: atomic { !FREE && said == 0 -> said = me + 1 }
	od;
	atomic { said = (said == me + 1 -> 0 : said) }
}

proctype user(byte me)
{
	{
		skip;
touch:		if
		:: atomic { entry[me] != BAD && IS_GOOD ->
			entry[me] = HAS;
			file = NEWDATA;
			goto done }
		:: atomic { entry[me] != BAD && file == HOLE && !FENCED ->
			file = ZERO;
			goto touch }
		:: entry[me] == BAD || file == POISON
		:: file == HOLE && FENCED
		:: atomic { file == ZERO -> assert(file != ZERO) }
		fi;
#ifdef BREAK_PUNCH_EARLY
		if
		:: file == POISON -> punch()
		:: else
		fi;
#endif
#ifndef BREAK_NO_LOCK
		lock();
#endif
#ifdef BREAK_NO_LOOK
		file = HOLE;
#else
#ifndef BREAK_KEEPS_ENTRY
		entry[me] = NONE;
#endif
		if
		:: atomic { LOOKS_GOOD && entry[me] != BAD -> goto unlock }
		:: else
		fi;
		if
		:: file == HOLE
		:: file != HOLE -> punch()
		fi;
#endif
		atomic {
			if
			:: file == HOLE ->
#ifdef BREAK_PUNCH_AND_GO
				goto unlock;
#endif
				file = GOOD;
				fills++;
				assert(fills <= losses)
			:: else
			fi
		};
#ifdef BREAK_KEEPS_ENTRY
		entry[me] = NONE;
#endif
unlock:
		atomic { writer = (writer == me + 1 -> 0 : writer) };
		goto touch
	}
#if KILLS > 0
	unless {
		doomed[me]
	};
	atomic {
		widowed = widowed || (writer == me + 1 && file == HOLE);
#ifdef BREAK_LOCK_STAYS
		skip;
#else
		writer = (writer == me + 1 -> 0 : writer);
		said = (said == me + 1 -> 0 : said);
#endif
	}
#ifdef WITNESS_HOLE
	assert(!widowed)
#endif
#endif
	;
done:	ended++
}

proctype reader()
{
	byte reads;
	bool hole;

	do
#ifndef FOREVER
	:: reads == READS -> break
	:: reads < READS ->
		reads++;
#else
	:: true ->
#endif
#ifdef BREAK_READER_NO_LOCK
		readers++;
#else
		atomic { MAY_READ -> readers++ };
#endif
#ifdef BREAK_READER_NO_HOLES
		hole = false;
#else
		hole = file == HOLE;
#endif
		if
		:: hole
		:: atomic { !hole -> assert(file != HOLE && file != ZERO) }
		fi;
		atomic { readers--; hole = false }
	od
}

/* Everybody who had it finds that out by himself. */
active proctype memory()
{
	byte i;

	do
	:: losses == LOSSES -> break
	:: losses < LOSSES ->
		atomic {
			ended == USERS || IS_GOOD;
			if
			:: IS_GOOD ->
				file = POISON;
				losses++;
				i = 0;
				do
				:: i < USERS ->
					entry[i] = (entry[i] == HAS -> BAD :
						    entry[i]);
					i++
				:: else -> break
				od
			:: else -> break
			fi
		}
	od
}

#if KILLS > 0
active proctype killer()
{
	byte n;

	do
	:: n < KILLS -> doomed[n] = true; n++
	:: break
	od
}
#endif

#ifdef FOREVER
ltl users_end { <> (ended == USERS) }
#endif

init {
	byte i;

	atomic {
		/* half of them have never touched it */
		do
		:: i < USERS ->
			entry[i] = (i & 1 -> NONE : HAS);
			run user(i);
			i++
		:: else -> break
		od;
		run reader()
	}
#ifndef FOREVER
	ended == USERS;
#if LOSSES == 1 && KILLS == 0
	/* whoever came after the loss has found it good */
	assert(IS_GOOD || fills == 0)
#endif
#endif
}
