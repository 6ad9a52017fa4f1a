/* SPDX-License-Identifier: MIT */
/*
 * The record of an outcome, and the line beside it, from the handler. What was
 * repaired is in place by now and nobody waits for it: only the thread that met
 * the loss goes on later by as much as this takes.
 */
#include <string.h>

#include "core/core.h"
#include "ladder.h"
#include "record/line.h"
#include "record/prepare.h"
#include "record/record.h"

_Static_assert(sizeof(struct bez_record) == BEZ_RECORD_BYTES &&
	       __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "the struct is the layout");

#define SECOND		1000000000u
#define FRAME_BITS	40		/* of a swap entry; more are flags */
#define LEAST_FRAME	256		/* below are markers, no frames */

struct bz_recorder bz_recorder;

/* What is known of one. */
struct noted {
	struct bz_walk *walk;
	const struct bz_fault *fault;
	const struct bz_hit *hit;	/* or NULL */
	const struct bz_result *result;
	uint64_t width;
	uint64_t seq;
	uint64_t now;
	uint32_t tid;
	uint16_t depth;
};

/* May one more be written in this second? One word: the second, and how many. */
static int may_write(struct bz_mm *mm, uint64_t now)
{
	uint64_t was, second, n;

	if (bz_recorder.rate == UINT32_MAX)
		return 1;
	was = atomic_load_explicit(&mm->record_rate, memory_order_relaxed);
	second = now / SECOND & UINT32_MAX;
	do {
		n = was >> 32 == second ? was & UINT32_MAX : 0;
		if (n >= bz_recorder.rate)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(&mm->record_rate, &was,
							second << 32 | (n + 1),
							memory_order_relaxed,
							memory_order_relaxed));
	return 1;
}

/*
 * Where the kernel has taken the page away there is an entry that names the
 * frame; if the page is there by now, it may be another. A marker of a
 * userfaultfd(2) is an entry, too, and names none.
 */
uint64_t bz_record_frame(const struct bz_mm *mm, const struct bz_fault *fault)
{
	uint64_t entry = 0, frame;

	if ((fault->cause != BEZ_CAUSE_POISON_AR &&
	     fault->cause != BEZ_CAUSE_POISON_AO) ||
	    !atomic_load_explicit(&mm->recording, memory_order_relaxed) ||
	    !bz_sink_is_ours(&bz_recorder.pagemap))
		return 0;
	if (bz_pread(bz_recorder.pagemap.fd, &entry, sizeof(entry),
		     fault->addr / bz_core.page * sizeof(entry)) !=
	    sizeof(entry) || (entry >> 62 & 3) != 1)	/* swapped, not there */
		return 0;
	/* behind five bits of type */
	frame = entry >> 5 & (((uint64_t)1 << FRAME_BITS) - 1);
	return frame < LEAST_FRAME ? 0 : frame;
}

static void counters(struct bz_mm *mm, struct bez_record *r)
{
	uint32_t i;

	for (i = 0; i < BZ_COUNTS; i++) {
		struct bz_counts *c = &mm->counts[i];

		/* most have never been used, and lie in no cache */
		if (!(atomic_load_explicit(&mm->counted, memory_order_relaxed) &
		      1u << i))
			continue;
		r->faults += atomic_load_explicit(&c->faults,
						  memory_order_relaxed);
		r->replaced += atomic_load_explicit(
			&c->outcomes[BEZ_OUTCOME_REPLACED],
			memory_order_relaxed);
		r->not_replaced += atomic_load_explicit(
			&c->outcomes[BEZ_OUTCOME_DEFAULT],
			memory_order_relaxed);
		r->foreign += atomic_load_explicit(
			&c->outcomes[BEZ_OUTCOME_FOREIGN],
			memory_order_relaxed);
	}
	r->dropped = atomic_load_explicit(&mm->records_dropped,
					  memory_order_relaxed);
}

/* The next of kin is told of it. */
static int is_shutdown(uint32_t outcome)
{
	return outcome == BEZ_OUTCOME_SHUTDOWN_BEGUN || bz_is_end(outcome);
}

/* A child that nobody has prepared anything for. One that shares our memory, of
 * vfork(2), is known by its number only, which is asked for where it matters: a
 * death must not be taken for another's; and the daemon is told by the kernel who
 * sends it what, and takes a record of another for a lie. */
static int is_bare_child(struct bz_mm *mm, uint32_t outcome)
{
	return !atomic_load_explicit(&mm->recording, memory_order_relaxed) ||
	       ((bz_recorder.daemon.to_bytes || is_shutdown(outcome)) &&
		bz_sys0(SYS_getpid) != bz_recorder.prepared.pid);
}

static void fill(struct bez_record *r, struct bz_mm *mm,
		 const struct noted *noted)
{
	const struct bz_fault *fault = noted->fault;
	const struct bz_result *result = noted->result;

	*r = bz_recorder.prepared;
	if (is_bare_child(mm, result->outcome)) {
		r->flags |= BEZ_RECORD_BARE_CHILD;
		r->pid = (int32_t)bz_sys0(SYS_getpid);
		r->start_ticks = 0;
	}
	r->id = noted->seq;
	bz_clocks(&bz_recorder.clocks, noted->now, &r->wall_ns, &r->boot_ns);
	r->mono_ns = fault->taken_ns;
	r->tid = (int32_t)noted->tid;
	r->took_ns = noted->now - fault->taken_ns;
	r->addr = fault->addr;
	r->width = noted->width;
	r->ip = fault->ip;
	if (noted->hit) {
		r->region = noted->hit->id;
		r->offset = fault->addr - noted->hit->start;
		memcpy(r->name, noted->hit->name, sizeof(r->name));
	}
	r->frame = result->frame;
	if (result->frame)
		r->flags |= BEZ_RECORD_HAS_FRAME;
	r->si_code = fault->si_code;
	r->cause = result->cause ? result->cause : (uint16_t)fault->cause;
	r->outcome = result->outcome;
	r->why = result->why;
	r->action = result->action;
	r->source = result->source;
	r->depth = noted->depth;
	counters(mm, r);
	r->digest = bez_digest(r, sizeof(*r) - sizeof(r->digest));
}

/* Those of a shutdown are told to others first, and only then written: a file may
 * be on a disk that is as broken as the memory. */
static __attribute__((noinline)) enum bz_way
put_record(struct bz_mm *mm, const struct noted *noted)
{
	struct bz_recorder *me = &bz_recorder;
	struct bez_record r;

	fill(&r, mm, noted);
	if (is_shutdown(r.outcome)) {
		bz_notify(&r);
		bz_tell_kin(&r);
		return bz_is_end(r.outcome) ?
		       bz_last_ended(mm, noted->walk, &r, noted->now) :
		       bz_last_begun(mm, noted->walk, &r, noted->now);
	}
	if (me->daemon.to_bytes) {
		/* the worker may have connected anew right behind it */
		int err = bz_daemon_put(mm, &r, noted->now);

		if (!err || (bz_daemon_is_gone(err) &&
			     r.outcome == BEZ_OUTCOME_DEFAULT &&
			     bz_last_word(mm, noted->walk, &r)))
			return BZ_WAY_SENT;
	}
	return me->sink.kind && !bz_sink_put(&me->sink, &r, sizeof(r)) ?
	       BZ_WAY_WRITTEN : BZ_WAY_NONE;
}

/* bezoar: replaced: 4096 bytes at 0x7f5c8a4d2000, "table" + 0x2000, poison,
 * action required, thread 4711, 3412 ns */
static __attribute__((noinline)) int put_line(struct bz_mm *mm,
					      const struct noted *noted,
					      const struct bz_say *say)
{
	const struct bz_fault *fault = noted->fault;
	const struct bz_result *result = noted->result;
	struct bz_line l;

	l.len = 0;
	bz_line_add(&l, "bezoar: ");
	bz_line_add(&l, bez_outcome_name(result->outcome));
	if (result->why) {
		bz_line_add(&l, " (");
		bz_line_add(&l, bez_outcome_name(result->why));
		bz_line_add(&l, ")");
	}
	bz_line_add(&l, ": ");
	if (noted->width) {
		bz_line_number(&l, noted->width, 10);
		bz_line_add(&l, " bytes at ");
	}
	bz_line_add(&l, "0x");
	bz_line_number(&l, fault->addr, 16);
	if (noted->hit) {
		bz_line_add(&l, ", \"");
		bz_line_name(&l, noted->hit->name);
		bz_line_add(&l, "\" + 0x");
		bz_line_number(&l, fault->addr - noted->hit->start, 16);
	}
	bz_line_add(&l, ", ");
	bz_line_add(&l, bez_cause_name(result->cause ? result->cause :
				       fault->cause));
	bz_line_add(&l, ", thread ");
	bz_line_number(&l, noted->tid, 10);
	bz_line_add(&l, ", ");
	bz_line_number(&l, noted->now - fault->taken_ns, 10);
	bz_line_add(&l, " ns");
	bz_line_end(&l);
	return say ? bz_say(mm, noted->walk, say, l.text, l.len) :
		     bz_sink_put(&bz_recorder.text, l.text, l.len);
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* It went that way, or is at least said, or dropped. */
static void account(struct bz_mm *mm, const struct noted *noted,
		    enum bz_way way)
{
	const struct bz_recorder *me = &bz_recorder;

	if (way == BZ_WAY_SENT)
		count(&mm->records_sent);
	else if (way == BZ_WAY_WRITTEN)
		count(&mm->records);
	else if (me->say.how && !put_line(mm, noted, &me->say))
		count(&mm->records_said);
	else if (me->sink.kind || me->daemon.to_bytes)
		count(&mm->records_dropped);
}

void bz_record_write(struct bz_mm *mm, struct bz_walk *w,
		     const struct bz_fault *fault, uint64_t width,
		     const struct bz_hit *hit, const struct bz_result *result,
		     uint64_t seq)
{
	struct bz_recorder *me = &bz_recorder;
	int last = is_shutdown(result->outcome);
	enum bz_way way = BZ_WAY_NONE;
	struct noted noted;

	if (!me->on && !last)
		return;
	noted = (struct noted){ w, fault, hit, result, width, seq,
				result->done_ns ? result->done_ns : bz_now_ns(),
				bz_walk_tid(w), (uint16_t)w->depth };
	if (!last && !may_write(mm, noted.now)) {
		count(&mm->records_dropped);
		return;
	}
	/* what may wait comes last */
	if (me->text.kind && me->text.kind != BZ_SINK_FILE)
		put_line(mm, &noted, NULL);
	if (me->daemon.to_bytes || me->sink.kind || last) {
		way = put_record(mm, &noted);
		account(mm, &noted, way);
	}
	if (me->text.kind == BZ_SINK_FILE)
		put_line(mm, &noted, NULL);
	if (bz_is_end(result->outcome)) {
		/* nobody waits for a disk that has nothing of it */
		if (way != BZ_WAY_SENT || atomic_load(&mm->records))
			bz_sink_settle(&me->sink);
		bz_sink_settle(&me->kin);
	}
}
