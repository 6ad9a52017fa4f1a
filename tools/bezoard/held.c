/* SPDX-License-Identifier: MIT */
#include "held.h"

#include <bezoar/bezoar.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ended.h"

#define SECOND		1000000000ull
#define LINGER		(10 * SECOND)	/* connected no more, but alive */
#define PATIENCE	(10 * SECOND)	/* until a parent has waited for it */
#define WORD		(2 * SECOND)	/* what is sent before the end is read
					 * after it, where a child holds the
					 * connection, which has no end then */
#define RECENT		(5 * SECOND)	/* such a record is its last word */
#define OF_SHELLS	128		/* + signal: a shell's status */

void helds_init(struct helds *h, int epoll, struct batch *batch)
{
	uint32_t i;

	h->epoll = epoll;
	h->batch = batch;
	h->generations = h->due_ns = h->words = 0;
	memset(h->word, 0, sizeof(h->word));
	for (i = 0; i < HELD_MOST; i++)
		h->held[i] = (struct held){ .fd = -1 };
}

/* With the generation: of who had the place before, epoll may tell later. */
static uint64_t event_of(const struct helds *h, const struct held *held)
{
	return (held->generation & UINT32_MAX) << 32 |
	       (HELD_EVENT + (uint32_t)(held - h->held));
}

static void drop(struct held *held)
{
	close(held->fd);		/* and leaves the epoll by that */
	held->fd = -1;
	held->generation = 0;
}

static void due(struct helds *h, struct held *held, uint64_t in_ns)
{
	held->due_ns = clock_now() + in_ns;
	if (!h->due_ns || held->due_ns < h->due_ns)
		h->due_ns = held->due_ns;
}

static void first_due(struct helds *h)
{
	uint32_t i;

	h->due_ns = 0;
	for (i = 0; i < HELD_MOST; i++) {
		const struct held *held = &h->held[i];

		if (held->fd >= 0 && held->due_ns &&
		    (!h->due_ns || held->due_ns < h->due_ns))
			h->due_ns = held->due_ns;
	}
}

/* A place: a free one, or that of who is not connected any more. */
static struct held *room(struct helds *h)
{
	struct held *victim = NULL;
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd < 0)
			return held;
		if (!held->connections && !held->has_ended &&
		    (!victim || held->due_ns < victim->due_ns))
			victim = held;
	}
	if (victim)
		drop(victim);
	return victim;
}

/* Pidfds are not to take what connections need: half of all descriptors. */
static int is_scarce(int fd)
{
	struct rlimit most;

	return !getrlimit(RLIMIT_NOFILE, &most) &&
	       (rlim_t)fd >= most.rlim_cur / 2;
}

static void take_word(struct held *held, const struct held_word *word)
{
	held->last = word->last;
	held->last_ns = word->last_ns;
	held->shuts_down = word->shuts_down;
	held->says_end = word->says_end;
}

/* It may have spoken by its parent's connection before its own was looked at. Of who is over
 * there is only the number, and a word of long ago counts for nothing. */
static void look_for_word(const struct helds *h, struct held *held)
{
	uint32_t i;

	for (i = 0; i < HELD_WORDS; i++) {
		const struct held_word *word = &h->word[i];

		if (word->last > held->last && word->pid == held->pid &&
		    (!held->start_ticks ||
		     word->start_ticks == held->start_ticks))
			take_word(held, word);
	}
}

static struct held *add(struct helds *h, int fd, const struct ended_stat *stat,
			pid_t pid, uid_t uid)
{
	struct held *held = is_scarce(fd) ? NULL : room(h);
	struct epoll_event event = { .events = EPOLLIN };

	if (!held) {
		close(fd);
		return NULL;
	}
	*held = (struct held){
		.fd = fd, .generation = ++h->generations, .pid = pid,
		.uid = uid, .start_ticks = stat->start_ticks,
	};
	memcpy(held->comm, stat->comm, sizeof(held->comm));
	look_for_word(h, held);
	event.data.u64 = event_of(h, held);
	if (!epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event))
		return held;
	drop(held);
	return NULL;
}

static struct held *find(struct helds *h, pid_t pid, uint64_t start_ticks)
{
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd >= 0 && !held->has_ended && held->pid == pid &&
		    held->start_ticks == start_ticks)
			return held;
	}
	return NULL;
}

struct held_by held_take(struct helds *h, int connection, pid_t pid, uid_t uid)
{
	struct held_by by = { 0, 0 };
	struct ended_stat stat;
	struct held *held;
	int fd;

	/* 0: of a namespace that cannot be seen from here */
	fd = pid ? ended_hold(connection, pid, &stat) : -1;
	held = fd < 0 ? NULL : find(h, pid, stat.start_ticks);
	if (held)
		close(fd);
	else if (fd >= 0)
		held = add(h, fd, &stat, pid, uid);
	if (!held) {
		batch_count(h->batch, COUNT_UNHELD, 1);
		return by;
	}
	held->connections++;
	if (held->due_ns) {
		held->due_ns = 0;
		first_due(h);
	}
	by.i = (uint32_t)(held - h->held);
	by.generation = held->generation;
	return by;
}

/* Another program by now, maybe. */
static void name_again(struct held *held)
{
	struct ended_stat stat;

	if (!ended_stat(held->pid, &stat) &&
	    stat.start_ticks == held->start_ticks)
		memcpy(held->comm, stat.comm, sizeof(held->comm));
}

void held_leave(struct helds *h, struct held_by by)
{
	struct held *held = &h->held[by.i];

	/* who has ended may be gone: a child of it was connected, too */
	if (!by.generation || held->generation != by.generation)
		return;
	held->connections--;
	if (!held->connections && !held->has_ended)
		name_again(held);
	/* all was read; what came of it is put before the rest */
	if (!held->connections)
		due(h, held, held->has_ended ? h->batch->delay_ns : LINGER);
}

static void has_ended(struct helds *h, struct held *held, int32_t status)
{
	epoll_ctl(h->epoll, EPOLL_CTL_DEL, held->fd, NULL);
	held->has_ended = 1;
	held->status = status;
	/* what it has sent is in the batch, or in the sockets up to their ends */
	due(h, held, h->batch->delay_ns + (held->connections ? WORD : 0));
}

int held_event(struct helds *h, uint32_t i, uint32_t generation,
	       uint32_t events, struct held_by *ret_by)
{
	struct held *held = &h->held[i];
	/* 0: when it has been waited for (EPOLLHUP) */
	struct epoll_event gone = { .data.u64 = event_of(h, held) };
	int32_t status = -1;

	if (held->fd < 0 || held->has_ended ||
	    (uint32_t)held->generation != generation)
		return 0;
	if (ended_how(held->fd, held->pid, held->start_ticks, held->uid,
		      &status) != ENDED_LATER || (events & EPOLLHUP)) {
		has_ended(h, held, status);
		*ret_by = (struct held_by){ i, held->generation };
		return 1;
	}
	epoll_ctl(h->epoll, EPOLL_CTL_MOD, held->fd, &gone);
	due(h, held, PATIENCE);
	return 0;
}

static int of_sigbus(int32_t status)
{
	return status != -1 &&
	       ((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) ||
		(WIFEXITED(status) && WEXITSTATUS(status) == OF_SHELLS + SIGBUS));
}

int held_wants_word(const struct helds *h, struct held_by by)
{
	const struct held *held = &h->held[by.i];

	return held->generation == by.generation && held->has_ended &&
	       (of_sigbus(held->status) || held->status == -1);
}

/* 0: it has to wait, as the store has no room. */
static int judge_end(struct helds *h, struct held *held)
{
	struct item *item;
	int is_word;

	if (!of_sigbus(held->status) && !held->shuts_down &&
	    !(held->status == -1 && held->says_end))
		return 1;
	is_word = held->says_end || (held->last && clock_now() - held->last_ns <
						   RECENT);
	item = batch_room(h->batch);
	if (!item)
		return 0;
	*item = (struct item){
		.kind = ITEM_DEATH, .client = CLIENT_NONE, .pid = held->pid,
		.uid = held->uid,
		.bytes = (uint16_t)strnlen(held->comm, sizeof(held->comm)),
		.more.death = {
			.start_ticks = held->start_ticks,
			.status = held->status,
			.told = is_word ? held->last : 0,
		},
	};
	memcpy(item->raw, held->comm, sizeof(held->comm));
	batch_add(h->batch);
	return 1;
}

/* It has ended, be it that epoll was not asked yet. */
static int is_over(const struct held *held)
{
	struct pollfd end = { .fd = held->fd, .events = POLLIN };

	return poll(&end, 1, 0) == 1;
}

/* 0: there is no room for its end. */
static int on_time(struct helds *h, struct held *held)
{
	int32_t status = -1;

	if (!held->has_ended && is_over(held)) {
		/* nobody may have waited for it in all that time */
		ended_how(held->fd, held->pid, held->start_ticks, held->uid,
			  &status);
		has_ended(h, held, status);
		return 1;
	}
	/* or it lives on, without this one */
	if (held->has_ended && !judge_end(h, held))
		return 0;
	drop(held);
	return 1;
}

/* Last records may be in the batch, whose numbers are not known yet: it is put once
 * for all. 0: the store has no room, which is tried again when that is due. */
static int flush(const struct helds *h, uint64_t now)
{
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		const struct held *held = &h->held[i];

		if (held->fd >= 0 && held->has_ended && held->due_ns <= now)
			return !h->batch->n ||
			       (!h->batch->fails && !batch_put(h->batch));
	}
	return 1;
}

void held_time(struct helds *h)
{
	uint64_t now = clock_now();
	int room = flush(h, now);
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd < 0 || !held->due_ns || held->due_ns > now)
			continue;
		if (room)
			room = on_time(h, held);
		if (!room)
			held->due_ns = now + SECOND;
	}
	first_due(h);
}

/* Whose number it is: his that began when the record says so, or his that lives. */
static struct held *teller(struct helds *h, int32_t pid, uint64_t start_ticks)
{
	struct held *best = NULL;
	uint32_t i;

	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd < 0 || held->pid != pid)
			continue;
		if (start_ticks && held->start_ticks == start_ticks)
			return held;
		if (!best || best->has_ended)
			best = held;
	}
	return best;
}

void held_told(struct helds *h, const struct item *item)
{
	struct bez_record r;
	struct held_word word;
	struct held *held;

	memcpy(&r, item->raw, sizeof(r));
	word = (struct held_word){
		.pid = item->pid, .start_ticks = r.start_ticks,
		.last = item->number, .last_ns = clock_now(),
		.shuts_down = r.action == BEZ_ACTION_SHUTDOWN,
		.says_end = r.action == BEZ_ACTION_SHUTDOWN ||
			    r.action == BEZ_ACTION_DEFAULT,
	};
	held = teller(h, item->pid, r.start_ticks);
	if (held)
		take_word(held, &word);
	else
		h->word[h->words++ % HELD_WORDS] = word;
}

void helds_close(struct helds *h)
{
	uint32_t i;

	flush(h, UINT64_MAX);
	for (i = 0; i < HELD_MOST; i++) {
		struct held *held = &h->held[i];

		if (held->fd >= 0 && held->has_ended)
			judge_end(h, held);
		if (held->fd >= 0)
			drop(held);
	}
}
