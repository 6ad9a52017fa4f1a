/* SPDX-License-Identifier: MIT */
/*
 * Model of a loss that is left by a jump (src/degrade_sig.c, src/clear_sig.c,
 * walk_extent() in src/ladder_sig.c): threads that meet the same lost page, its
 * entry in the inventory, its claim, the record, and the owner who is told by that
 * and has the page opened again meanwhile.
 *
 *	touch	a page that can be read: on with it. Else a fault
 *	known	is it in the inventory? Then leave
 *	claim	who has to wait for it touches the page again afterwards
 *	again	in the inventory by now? Touch again
 *	look	good by now? Touch again. The source may have it, too
 *	enter	a slot BUSY, the page covered, the slot READY
 *	leave	is the entry still what it was? Drop the claim, write the record,
 *		give back the walk slot, jump; without a scope the fault goes on
 *		to the former action
 *
 *	clear	(the owner, when a record tells him) claim; in the inventory?
 *		Open the page, take the entry out; drop the claim; write the page
 *
 * Abstractions:
 * - The claim is one word that is waited for without a deadline: claims.pml says
 *   how that is made of slots.
 * - A handler ends by a jump or by a return, and both give back the walk slot.
 * - A catch waits until its loss was cleared, and touches the page again.
 * - The file of the page may be given bytes again, zeros, as long as nothing covers
 *   the place: once.
 *
 * Settings (the cases are in scope.cases):
 *	THREADS		how many touch the page; the last one has no scope
 *	OWNERS		how many clear it when they are told
 *	LOSSES		how often it is lost
 *	GROWS		the file grows again
 *	NO_SOURCE	nothing replaces the page
 *	BREAK_*		a fault put in on purpose
 *	WITNESS_WAITED	fails where one who had waited for the claim jumps: the
 *			search must find such a run
 */
#ifndef THREADS
#define THREADS		3
#endif
#ifndef OWNERS
#define OWNERS		1
#endif
#ifndef LOSSES
#define LOSSES		1
#endif

/* The page. */
#define GOOD		0
#define LOST		1
#define COVERED		2
#define OPEN		3	/* zeros that its owner is about to write */
#define ZERO		4	/* zeros that the kernel hands out */

/* An entry. */
#define FREE		0
#define BUSY		1
#define READY		2

#define SLOTS		2
#define NOBODY		0
#define OWNER(i)	(THREADS + 1 + (i))

byte page = GOOD;
byte key[SLOTS];
byte number[SLOTS];	/* of the loss, from drawn */
byte claim;		/* 0, or 1 + who has it */
byte walk;		/* slots of the walk table that are taken */
byte drawn, cleared, told;
byte losses, ended, jumped, written;	/* ghosts */
bool rewrites;		/* ghost: the owner is at it */

#ifdef NO_SOURCE
#define HAS_SOURCE	false
#else
#define HAS_SOURCE	true
#endif
#define IN_INVENTORY	(key[0] == READY || key[1] == READY)
#define READS		(page == GOOD || page == OPEN || page == ZERO)

inline find()
{
	atomic {
		s = (key[0] == READY -> 0 : 1);
		n = (key[s] == READY -> number[s] : 0)
	}
}

inline drop()
{
	atomic { claim = (claim == me + 1 -> NOBODY : claim) }
}

/* To descriptors, where the owner sees it. */
inline record()
{
	atomic {
		/* who is told finds it, or it has been cleared since */
		assert(n <= drawn);
		told = (n > told -> n : told);
		written++;
		wrote = true
	}
}

proctype thread(byte me; bool scoped)
{
	byte s, n;
	bool wrote, waited;

touch:	if
	:: atomic { READS ->
		/* zeros of what is lost are read by nobody */
		assert(page != ZERO || !IN_INVENTORY);
		assert(page != OPEN || rewrites);
		/* and what was written anew is not called lost */
		assert(page != GOOD || !IN_INVENTORY);
		goto done }
	:: atomic { !READS -> walk++; wrote = false; n = 0 }
	fi;
	/* look-up before the claim: what is known needs none */
	find();
	if
	:: n -> goto leave
	:: else
	fi;
	if
	:: atomic { claim == NOBODY -> claim = me + 1 }
	:: atomic { claim != NOBODY -> waited = true };
		claim == NOBODY;
		goto resume
	fi;
#ifndef BREAK_LOOKS_ONCE
	find();
	if
	:: n -> goto resume
	:: else
	fi;
#endif
	/* is it still lost? */
	if
	:: READS -> goto resume
	:: atomic { !READS && HAS_SOURCE ->
		/* what is lost stays lost */
		assert(!IN_INVENTORY);
		page = GOOD };
		goto resume
	:: !READS
	fi;
#ifdef BREAK_RECORD_FIRST
	n = drawn + 1;
	record();
#endif
	atomic {
		s = (key[0] == FREE -> 0 : 1);
		assert(key[s] == FREE);
		key[s] = BUSY
	}
#if !defined(BREAK_COVERS_LATE) && !defined(BREAK_NO_COVER)
	page = COVERED;
#endif
	atomic {
		key[s] = READY;
		/* never twice, and each loss once */
		assert(!(key[0] == READY && key[1] == READY));
		assert(drawn < losses);
		drawn++;
		n = drawn;
		number[s] = n
	}
#ifdef BREAK_COVERS_LATE
	page = COVERED;
#endif
leave:
	/* cleared, and perhaps another's by now */
	if
	:: key[s] == READY && number[s] == n
	:: atomic { !(key[s] == READY && number[s] == n) -> n = 0; goto resume }
	fi;
#ifdef BREAK_JUMP_HOLDING
	if
	:: scoped -> goto jump
	:: else
	fi;
#endif
#ifdef BREAK_DROPS_LATE
	record();
#ifdef BREAK_WRITER_WAITS
	/* a pipe that its reader has to empty first */
	cleared >= n;
#endif
	drop();
#else
	drop();
#ifndef BREAK_JUMP_UNRECORDED
	record();
#endif
#endif
	if
	:: scoped
	:: else ->		/* the former action, which holds nothing */
		atomic { walk--; goto done }
	fi;
jump:	atomic {
#ifndef BREAK_KEEPS_WALK
		walk--;
#endif
		assert(claim != me + 1);
		assert(wrote);
		assert(n > 0 && n <= drawn);
		jumped++;
#ifdef WITNESS_WAITED
		assert(!waited);
#endif
		s = 0
	}
	/* in the catch */
	atomic { cleared >= n -> n = 0; waited = false; goto touch }

resume:	/* the handler returns, and the instruction runs again */
	drop();
	atomic { walk--; goto touch }

done:	atomic { ended++; s = 0; n = 0; wrote = false; waited = false }
}

proctype owner(byte me)
{
	byte s, n, last;

	do
	:: atomic { told > last -> last = told }
#ifndef BREAK_CLEAR_NO_CLAIM
		atomic { claim == NOBODY -> claim = me + 1 };
#endif
		find();
		if
		:: atomic { n == 0 ->
			/* told of it, and another clears it, or has */
			assert(rewrites || cleared >= last) }
		:: else ->
#ifdef BREAK_OUT_FIRST
			atomic { key[s] = FREE; number[s] = 0 };
#endif
			atomic {
				/* nothing that was written is thrown away */
				assert(page == LOST || page == COVERED ||
				       page == ZERO);
				page = OPEN;
				rewrites = true
			}
#ifndef BREAK_OUT_FIRST
			atomic { key[s] = FREE; number[s] = 0 };
#endif
		fi;
#ifndef BREAK_CLEAR_NO_CLAIM
		drop();
#endif
		atomic {
			if
			:: n ->
				page = GOOD;
				rewrites = false;
				cleared = (n > cleared -> n : cleared)
			:: else
			fi;
			s = 0;
			n = 0
		}
	:: atomic { ended == THREADS -> break }
	od
}

active proctype memory()
{
	do
	:: atomic { losses < LOSSES && page == GOOD -> page = LOST; losses++ }
#ifdef GROWS
	:: atomic { page == LOST -> page = ZERO; break }
#endif
	:: atomic { ended == THREADS -> break }
	od
}

init {
	byte i;

	atomic {
		do
		:: i < THREADS - 1 -> run thread(i, true); i++
		:: else -> break
		od;
		run thread(i, false);
		i = 0;
		do
		:: i < OWNERS -> run owner(OWNER(i) - 1); i++
		:: else -> break
		od
	}
	/* everybody comes to an end, and leaves nothing behind */
	atomic {
		ended == THREADS;
		i = 0
	}
	assert(claim == NOBODY || claim > THREADS);
	assert(walk == 0 && written >= jumped)
}
