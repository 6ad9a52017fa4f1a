/* SPDX-License-Identifier: MIT */
/* Who is held, and how an end is judged: step by step, with a clock of this test's and
 * a store that only numbers. The processes are real, and so are their ends. */
#include "held.h"

#include <bezoar/bezoar.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "kin.h"

#define SECOND	1000000000ull
#define DELAY	(SECOND / 50)

static uint64_t now = 1000 * SECOND;
static struct batch batch;
static struct helds helds;
static struct clients clients;
static int epoll, listener;
static int64_t number;			/* of the last row */
static struct item deaths[8];
static size_t n_deaths;

/* ----------------------------------------------------- in the place of a store */

uint64_t clock_now(void)
{
	return now;
}

struct item *batch_room(struct batch *b)
{
	return b->n < BATCH_MOST ? &b->items[b->n] : NULL;
}

void batch_add(struct batch *b)
{
	b->n++;
}

void batch_count(struct batch *b, enum count what, uint64_t n)
{
	(void)b;
	CHECKF(what != COUNT_UNHELD, "%llu", (unsigned long long)n);
}

int batch_put(struct batch *b)
{
	size_t i;

	for (i = 0; i < b->n; i++) {
		struct item *item = &b->items[i];

		item->number = ++number;
		if (item->kind == ITEM_RECORD)
			held_told(&helds, item);
		else if (item->kind == ITEM_DEATH)
			deaths[n_deaths++] = *item;
	}
	b->n = 0;
	return 0;
}

/* -------------------------------------------------------------- who is connected */

static void begin(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int on = 1;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	batch.delay_ns = DELAY;
	helds_init(&helds, epoll, &batch);
	clients_init(&clients, epoll, &batch, &helds, 1000000, 8);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC |
			  SOCK_NONBLOCK, 0);
	CHECK(epoll >= 0 && listener >= 0);
	CHECK_EQ(setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &on,
			    sizeof(on)), 0);
	/* any abstract name */
	CHECK_EQ(bind(listener, (struct sockaddr *)&to, sizeof(sa_family_t)),
		 0);
	CHECK_EQ(listen(listener, 8), 0);
}

/* In a process that has connected: what it does by @fd. The case goes on when it has
 * been done, and the process when it is told to. */
struct process {
	pid_t pid;
	int go;
};

static struct process connected(void (*does)(int fd))
{
	struct sockaddr_un to;
	socklen_t len = sizeof(to);
	int done[2], go[2], fd;
	struct process p;
	char c = 0;

	CHECK_EQ(getsockname(listener, (struct sockaddr *)&to, &len), 0);
	CHECK_EQ(pipe(done), 0);
	CHECK_EQ(pipe(go), 0);
	p.pid = fork();
	CHECK(p.pid >= 0);
	if (!p.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tap_apart();
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		CHECK_EQ(connect(fd, (struct sockaddr *)&to, len), 0);
		if (write(done[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(99);
		if (does)
			does(fd);
		if (write(done[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(99);
		raise(SIGBUS);
		_exit(99);
	}
	p.go = go[1];
	CHECK_EQ(read(done[0], &c, 1), 1);
	/* it is asked who it is while it lives */
	clients_accept(&clients, listener);
	CHECK_EQ(write(p.go, &c, 1), 1);
	CHECK_EQ(read(done[0], &c, 1), 1);
	close(done[0]);
	close(done[1]);
	close(go[0]);
	return p;
}

/* Its end, of which nobody has waited for it. */
static void die(struct process p)
{
	siginfo_t info;

	CHECK_EQ(write(p.go, "", 1), 1);
	CHECK_EQ(waitid(P_PID, (id_t)p.pid, &info, WEXITED | WNOWAIT), 0);
	CHECK(info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED);
	CHECK_EQ(info.si_status, SIGBUS);
}

/* What epoll says of a process; 0: nothing. */
static uint64_t event_of_process(void)
{
	struct epoll_event events[16];
	int n = epoll_wait(epoll, events, 16, 0), i;

	for (i = 0; i < n; i++)
		if ((uint32_t)events[i].data.u64 >= HELD_EVENT)
			return events[i].data.u64;
	return 0;
}

/* As the loop does it. */
static void see_the_end(void)
{
	uint64_t data = event_of_process();
	struct held_by by;

	CHECK(data);
	CHECK_EQ(data >> 32, helds.held[0].generation);
	CHECK_EQ(held_event(&helds, (uint32_t)data - HELD_EVENT,
			    (uint32_t)(data >> 32), EPOLLIN, &by), 1);
	clients_drain(&clients, by);
}

static void judged(uint64_t after)
{
	now += after;
	held_time(&helds);
	batch_put(&batch);
}

static void closes(int fd)
{
	close(fd);
}

/* ------------------------------------------------------------------------ cases */

/* It disconnects, and dies; ten seconds are over before epoll is asked. */
static void unseen(void)
{
	begin();
	die(connected(closes));
	client_turn(&clients, 0);
	CHECK_EQ(helds.held[0].connections, 0);
	judged(11 * SECOND);
	judged(SECOND);
	CHECK_EQ(n_deaths, 1);
	CHECK_EQ(deaths[0].more.death.told, 0);
	CHECK_EQ(deaths[0].more.death.status & 0x7f, SIGBUS);
}

/* Who lives on after that is let go. */
static void lives_on(void)
{
	struct process p;

	begin();
	p = connected(closes);
	client_turn(&clients, 0);
	judged(11 * SECOND);
	CHECK_EQ(helds.held[0].fd, -1);
	die(p);
	judged(11 * SECOND);
	CHECK_EQ(n_deaths, 0);
}

static void speaks(int fd)
{
	kin_send_last_word(fd, 100);
}

/* All of that is read when its end is seen, however late it is judged. */
static void behind(void)
{
	begin();
	die(connected(speaks));
	see_the_end();
	CHECK_EQ(batch.n, 101);
	/* its connection has an end, so there is nothing to be waited for */
	CHECK_EQ(helds.held[0].connections, 0);
	CHECK_EQ(helds.due_ns, now + DELAY);
	judged(60 * SECOND);
	CHECK_EQ(n_deaths, 1);
	CHECK_EQ(deaths[0].more.death.told, 101);
}

/* A child of it has the connection, which has no end therefore: for that there is a
 * time. */
static int alive[2];			/* a pipe: closed with the case */

static void leaves_a_child(int fd)
{
	char c;

	(void)fd;
	if (fork())
		return;
	close(alive[1]);
	while (read(alive[0], &c, 1) > 0)
		;
	_exit(0);
}

static void no_end(void)
{
	begin();
	CHECK_EQ(pipe(alive), 0);
	die(connected(leaves_a_child));
	see_the_end();
	CHECK_EQ(helds.held[0].connections, 1);
	CHECK_EQ(helds.due_ns, now + DELAY + 2 * SECOND);
	judged(SECOND);
	CHECK_EQ(n_deaths, 0);
	judged(2 * SECOND);
	CHECK_EQ(n_deaths, 1);
}

/* What epoll says late is of who had the place before. */
static void another_one(void)
{
	struct process first, second;
	struct held_by by;
	uint64_t data;

	begin();
	first = connected(closes);
	client_turn(&clients, 0);
	die(first);
	data = event_of_process();
	CHECK(data);
	judged(11 * SECOND);
	judged(SECOND);
	CHECK_EQ(helds.held[0].fd, -1);
	second = connected(NULL);
	CHECK_EQ(helds.held[0].pid, second.pid);
	CHECK_EQ(held_event(&helds, (uint32_t)data - HELD_EVENT,
			    (uint32_t)(data >> 32), EPOLLIN | EPOLLHUP, &by),
		 0);
	CHECK_EQ(helds.held[0].has_ended, 0);
	CHECK_EQ(helds.due_ns, 0);
	die(second);
	see_the_end();
	judged(SECOND);
	CHECK_EQ(n_deaths, 2);
	CHECK_EQ(deaths[1].pid, second.pid);
}

/* A worker has spoken by its parent's connection, and its own is let in after that was
 * stored. */
static void told_before(void)
{
	struct item item = { .kind = ITEM_RECORD, .number = 5 };
	struct bez_record r = kin_record(1);
	struct process p;

	begin();
	p = connected(NULL);
	r.start_ticks = helds.held[0].start_ticks;
	r.action = BEZ_ACTION_DEFAULT;
	/* nobody has been let in */
	close(helds.held[0].fd);
	helds_init(&helds, epoll, &batch);
	item.pid = p.pid + 1;
	memcpy(item.raw, &r, sizeof(r));
	held_told(&helds, &item);
	item.pid = p.pid;
	item.number = 6;
	held_told(&helds, &item);
	clients.client[0].held = held_take(&helds, clients.client[0].fd, p.pid,
					   getuid());
	CHECK_EQ(helds.held[0].last, 6);
	die(p);
	see_the_end();
	judged(SECOND);
	CHECK_EQ(n_deaths, 1);
	CHECK_EQ(deaths[0].more.death.told, 6);
}

/* Two that had the same number, of which one has ended: a record is the other's, if it
 * does not say when its process began. */
static void same_number(void)
{
	struct item item = { .kind = ITEM_RECORD, .number = 5 };
	struct bez_record r = kin_record(1);
	struct held *ended = &helds.held[0], *lives = &helds.held[1];
	struct process first;

	begin();
	first = connected(NULL);
	connected(NULL);
	die(first);
	see_the_end();
	CHECK_EQ(ended->has_ended, 1);
	CHECK_EQ(lives->has_ended, 0);
	lives->pid = ended->pid;
	item.pid = ended->pid;
	lives->start_ticks = ended->start_ticks + 1;
	memcpy(item.raw, &r, sizeof(r));
	held_told(&helds, &item);
	CHECK_EQ(lives->last, 5);
	CHECK_EQ(ended->last, 0);
	r.start_ticks = ended->start_ticks;
	item.number = 6;
	memcpy(item.raw, &r, sizeof(r));
	held_told(&helds, &item);
	CHECK_EQ(lives->last, 5);
	CHECK_EQ(ended->last, 6);
}

static const struct tap_case cases[] = {
	{ .name = "an end that nobody has looked at", .run = unseen },
	{ .name = "who lives on", .run = lives_on },
	{ .name = "a last word behind others", .run = behind },
	{ .name = "a connection that has no end", .run = no_end },
	{ .name = "who had the place before", .run = another_one },
	{ .name = "who had the number before", .run = same_number },
	{ .name = "told before it was let in", .run = told_before },
};
TAP_MAIN(cases)
