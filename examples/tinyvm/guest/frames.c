/* SPDX-License-Identifier: MIT */
/*
 * The frames of memory that tasks may have. What came back is given out again before
 * long, the first first, so that what was lost in between is met soon; that it is not
 * at once lets a frame go from task to task. One that is known to be lost is taken
 * out of that for good, and a fresh one takes its place. Never called by the handler
 * of machine checks but for what says so: it may have interrupted the holder of the
 * lock.
 */
#include "kernel.h"

static struct owner owners[BOARD_FRAMES];
static uint32_t ring[BOARD_FRAMES];	/* of those that came back: indices */
static uint32_t ring_head, ring_count;
static uint32_t fresh;			/* the first that was never given out */
static uint32_t frame_count;
static uint32_t lock;

#define KEEP	64			/* that many came back, and wait */

static void locked(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
}

static void unlocked(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

/* UINT32_MAX: it is none. */
static uint32_t index_of(uint32_t frame)
{
	uint32_t i, before = 0;

	for (i = 0; i < board.ranges; i++) {
		uint64_t at = frame - board.range[i].frame;

		if (frame >= board.range[i].frame && at < board.range[i].count)
			return before + (uint32_t)at;
		before += (uint32_t)board.range[i].count;
	}
	return UINT32_MAX;
}

static uint32_t number_of(uint32_t index)
{
	uint32_t i;

	for (i = 0; index >= board.range[i].count; i++)
		index -= (uint32_t)board.range[i].count;
	return (uint32_t)board.range[i].frame + index;
}

void frames_start(void)
{
	uint32_t i;

	for (i = 0; i < board.ranges; i++)
		frame_count += (uint32_t)board.range[i].count;
}

/* With the lock. */
static void put_free(uint32_t i)
{
	uint32_t at = ring_head + ring_count++;

	ring[at < frame_count ? at : at - frame_count] = i;
}

static uint32_t get_free(void)
{
	uint32_t i;

	if (ring_count <= KEEP && fresh < frame_count)
		return fresh++;
	i = ring[ring_head];
	ring_head = ring_head + 1 < frame_count ? ring_head + 1 : 0;
	ring_count--;
	return i;
}

uint32_t frame_take(uint32_t task, uint32_t page)
{
	uint32_t i, frame = 0;

	locked();
	while (!frame && (ring_count || fresh < frame_count)) {
		i = get_free();
		if (owners[i].state == FRAME_OUT)
			continue;	/* lost while it was free: forgotten */
		if (owners[i].state != FRAME_FREE)
			nonsense("a frame is free and used", i);
		owners[i] = (struct owner){
			.state = FRAME_USED,
			.cpu = (uint8_t)this_cpu()->index,
			.task = (uint8_t)task,
			.page = (uint8_t)page,
		};
		frame = number_of(i);
	}
	unlocked();
	return frame;
}

void frame_give(uint32_t frame)
{
	uint32_t i = index_of(frame);

	locked();
	if (owners[i].state == FRAME_USED) {
		owners[i].state = FRAME_FREE;
		put_free(i);
	} else {
		nonsense("a frame is given back twice", frame);
	}
	unlocked();
}

static void now_out(uint32_t i, uint32_t frame)
{
	owners[i].state = FRAME_OUT;
	counts()->dropped++;
	out32(PORT_OUT, frame);
}

struct owner frame_find(uint32_t frame)
{
	uint32_t i = index_of(frame);
	struct owner o;

	locked();
	o = owners[i];
	if (o.state == FRAME_FREE)
		now_out(i, frame);
	unlocked();
	return o;
}

void frame_out(uint32_t frame)
{
	uint32_t i = index_of(frame);

	locked();
	if (owners[i].state == FRAME_USED)
		now_out(i, frame);
	else
		nonsense("a frame goes out of use twice", frame);
	unlocked();
}

int frame_known(uint32_t frame)
{
	return index_of(frame) != UINT32_MAX;
}

/* What is this CPU's does not change while its handler runs. */
struct owner frame_owner(uint32_t frame)
{
	return owners[index_of(frame)];
}

void frame_send(uint32_t cpu, uint32_t frame)
{
	int full;

	locked();
	full = queue_put(&cpus[cpu].inbox, frame);
	unlocked();
	if (full)
		nonsense("too much is lost at once", frame);
}

uint32_t frame_received(void)
{
	struct queue *q = &this_cpu()->inbox;
	uint32_t frame;

	if (__atomic_load_n(&q->head, __ATOMIC_RELAXED) ==
	    __atomic_load_n(&q->tail, __ATOMIC_RELAXED))
		return 0;
	locked();
	frame = queue_take(q);
	unlocked();
	return frame;
}

int queue_put(struct queue *q, uint32_t frame)
{
	if (q->tail - q->head == sizeof(q->at) / sizeof(q->at[0]))
		return -1;
	q->at[q->tail % (sizeof(q->at) / sizeof(q->at[0]))] = frame;
	__atomic_store_n(&q->tail, q->tail + 1, __ATOMIC_RELEASE);
	return 0;
}

uint32_t queue_take(struct queue *q)
{
	uint32_t frame;

	if (__atomic_load_n(&q->tail, __ATOMIC_ACQUIRE) == q->head)
		return 0;
	frame = q->at[q->head % (sizeof(q->at) / sizeof(q->at[0]))];
	__atomic_store_n(&q->head, q->head + 1, __ATOMIC_RELEASE);
	return frame;
}
