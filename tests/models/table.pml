/* SPDX-License-Identifier: MIT */
/*
 * The region table: publication, and grace before memory is used again.
 *
 * Stands for the look-up of src/region/table_sig.c, the change and removal of
 * src/region/table.c, and the mark in a walk slot of src/fault/walk_sig.c.
 *
 *	reader, in the handler		writer, under a mutex
 *
 *	e = epoch			build a new node
 *	mark = e			root = new node		(release)
 *	fence (seq_cst)			tag = ++epoch		(release)
 *	n = root (acquire)		fence (seq_cst)
 *	walk n, use the region		retire the old node with the tag
 *	mark = 0 (release)		unlock
 *
 * A retired node may be overwritten, and a removed region's memory be given
 * back, when each mark is 0 or at least the tag. That is enough:
 * - A mark of at least the tag was made of an epoch that was stored after the
 *   new root, so that reader found the new root.
 * - A reader that took an old epoch, and was held up before it stored its mark,
 *   may be missed by the look at the marks. But the fences say that if the
 *   writer missed the mark, the reader does not miss the new root.
 * So a reader need not look at the epoch again.
 *
 * Left out or made coarser:
 * - Each process has a buffer, first in first out, between its stores and the
 *   memory; a fence waits until it is empty. That is x86. The epoch's
 *   fetch_add goes through the buffer too, which is weaker than x86 and as
 *   weak as an LL/SC pair: a later load may overtake its store.
 *   A store of less than release is modelled where leaving the release out is
 *   the fault: BREAK_PUBLISH_EARLY, BREAK_TAG_FIRST, BREAK_EARLY_CLEAR.
 * - One node stands for whatever one store of a pointer replaces. It has two
 *   halves so that a torn one can be seen.
 * - What only writers use is plain memory under their mutex.
 * - A writer waits for the one node it chose; the code may try others.
 * - A fault inside a fault has a slot of its own: one more reader.
 *
 * Settings (the cases are in table.cases):
 *	READERS, PASSES		how many, and look-ups of each
 *	WRITERS, UPDATES	how many, and changes of each
 *	NODES			nodes in the pool
 *	FOREVER			readers never stop: the writers must still end
 *	WRITER_STOPS		a writer stops anywhere: readers must still end
 *	BREAK_*			a fault put in on purpose
 */
#ifndef READERS
#define READERS		2
#endif
#ifndef PASSES
#define PASSES		1
#endif
#ifndef WRITERS
#define WRITERS		1
#endif
#ifndef UPDATES
#define UPDATES		2
#endif
#ifndef NODES
#define NODES		2
#endif

#define VERSIONS	(2 + WRITERS * UPDATES)
#define NONE		255

/* Memory that both sides use. */
#define ROOT		0
#define EPOCH		1
#define MARK(r)		(2 + (r))
#define LOW(n)		(2 + READERS + 2 * (n))
#define HIGH(n)		(3 + READERS + 2 * (n))

byte mem[2 + READERS + 2 * NODES];

/* The buffers: readers first, then writers. */
#define PROCESSES	(READERS + WRITERS)

chan buffer[PROCESSES] = [4] of { byte, byte };

/* The writers' own, under the mutex. */
bool locked;
byte head;		/* the node that was published last */
byte tags;		/* the epoch given last */
byte version;		/* of the last node built */
byte tag[NODES];	/* of a retired node; 0: not used so far */

/* Ghosts. A region is named by the version that added it; 0 is none. */
byte region[VERSIONS];	/* what a version of the node says */
bool gone[VERSIONS];	/* its removal has returned */
byte at[READERS];	/* the node a reader is at, or NONE */
byte written;		/* writers that are through */
bool stopped;

#define store(where, what)	buffer[self]!where,what
#define fence()			empty(buffer[self])

#ifdef BREAK_WAIT_UNMARKED
#define PASSED(r, t)	(mem[MARK(r)] == 0)
#else
#define PASSED(r, t)	(mem[MARK(r)] == 0 || mem[MARK(r)] >= (t))
#endif

proctype drain(byte self)
{
	byte where, what;

end:	do
	:: atomic {
		buffer[self]?where,what ->
		mem[where] = what;
		where = 0;
		what = 0
	   }
	od
}

inline clear_mark()
{
#ifndef BREAK_MARK_LEAK
	store(MARK(self), 0)
#else
	skip
#endif
}

proctype reader(byte self)
{
	byte e, n, v, pass;

	do
#ifndef FOREVER
	:: pass == PASSES -> break
	:: pass < PASSES ->
		pass++;
#else
	:: true ->
#endif
#ifdef BREAK_READER_LOCKS
		!locked;
#endif
		e = mem[EPOCH];
		store(MARK(self), e);
#ifndef BREAK_NO_READER_FENCE
		fence();
#endif
		atomic { n = mem[ROOT]; at[self] = n };
		v = mem[LOW(n)];
#ifdef BREAK_EARLY_CLEAR
		clear_mark();
#endif
		assert(v == mem[HIGH(n)]);
		assert(!gone[region[v]]);
		/* time goes by, in a repair say; then the last use */
		atomic {
			assert(v == mem[LOW(n)] && v == mem[HIGH(n)]);
			assert(!gone[region[v]]);
			at[self] = NONE;
			e = 0;
			n = 0;
			v = 0
		}
#ifndef BREAK_EARLY_CLEAR
		clear_mark()
#endif
	od
}

/* Wait until no reader can see what was retired with tag t. */
inline grace(t)
{
	r = 0;
	do
	:: r < READERS -> PASSED(r, t); r++
	:: else -> break
	od;
	r = 0
}

/* The order of these three is the point; see the table above. */
inline build()
{
	store(LOW(n), v);
	store(HIGH(n), v)
}

inline publish()
{
	store(ROOT, n)
}

inline take_tag()
{
	d_step { tags++; t = tags };
	store(EPOCH, t)
}

/* Nobody may be at a node that is about to be overwritten. */
inline check_unseen()
{
	d_step {
		assert(mem[ROOT] != n);
		r = 0;
		do
		:: r < READERS -> assert(at[r] != n); r++
		:: else -> break
		od;
		r = 0
	}
}

/* Add the region, take it away, or change something beside it. */
inline decide()
{
	atomic {
		was = region[version];
		version++;
		v = version;
		if
		:: was == 0 -> region[v] = v
		:: was != 0 -> region[v] = was
		:: was != 0 -> region[v] = 0
		fi
	}
}

inline update()
{
	atomic { !locked -> locked = true };
	if
	:: head != 0 -> n = 0
	:: head != 1 -> n = 1
#if NODES > 2
	:: head != 2 -> n = 2
#endif
	fi;
#ifndef BREAK_NO_GRACE
	grace(tag[n]);
#endif
	check_unseen();
	decide();

#if defined(BREAK_PUBLISH_EARLY)
	publish();
	build();
	take_tag();
#elif defined(BREAK_TAG_FIRST)
	build();
	take_tag();
	publish();
#else
	build();
	publish();
	take_tag();
#endif
#ifndef BREAK_NO_WRITER_FENCE
	fence();
#endif
	d_step {
#ifdef BREAK_TAG_OLD
		/* what fetch_add returns */
		t--;
#endif
		tag[head] = t;
		head = n
	};
	locked = false;

	if
	:: region[v] != was && was != 0 ->
#ifndef BREAK_NO_REMOVE_WAIT
		grace(t);
#endif
		gone[was] = true
	:: else
	fi;
	d_step { n = 0; t = 0; v = 0; was = 0 }
}

proctype writer(byte self)
{
	byte n, t, v, r, was, done;

	{
		do
		:: done < UPDATES -> update(); done++
		:: else -> break
		od;
		written++
	} unless {
		stopped
	}
}

#ifdef WRITER_STOPS
active proctype stop()
{
	stopped = true
}
#endif

#ifdef FOREVER
ltl writers_end { <> (written == WRITERS) }
#endif

init {
	byte i;

	atomic {
		/* node 0 is published, and says that there is a region 1 */
		version = 1;
		region[1] = 1;
		mem[LOW(0)] = 1;
		mem[HIGH(0)] = 1;
		tags = 1;
		mem[EPOCH] = 1;
		do
		:: i < READERS ->
			at[i] = NONE;
			run reader(i);
			run drain(i);
			i++
		:: else -> break
		od;
		do
		:: i < PROCESSES ->
			run writer(i);
			run drain(i);
			i++
		:: else -> break
		od
	}
}
