/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "held.h"
#include "hook.h"
#include "klog.h"
#include "listen.h"
#include "metrics.h"
#include "news.h"

#define EVENTS		64
#define KEEP_EVERY	1024		/* items, for the size */

/* What is no client's number. */
enum { EVENT_LISTENER = CLIENTS_MOST, EVENT_SIGNAL, EVENT_FILES,
       EVENT_KMSG, EVENT_HOOK, EVENT_LATCHES };

static struct loop {
	int epoll, signals, ended;
	struct listening listening;
	struct store store;
	struct batch batch;
	struct clients clients;
	struct files files;
	struct metrics metrics;
	struct klog klog;
	struct helds helds;
	struct hook hook;
	uint64_t keep_due_ns;		/* 0: nothing will be too old */
	uint64_t kept_at;		/* batch.put at that time */
} loop = { .store.lock = -1 };

static int watch(int fd, uint32_t what)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = what };

	return epoll_ctl(loop.epoll, EPOLL_CTL_ADD, fd, &event);
}

static int watch_klog(const char *path)
{
	if (loop.klog.fd < 0 || !watch(loop.klog.fd, EVENT_KMSG))
		return 0;
	if (errno != EPERM)
		return -1;
	klog_never_waits(&loop.klog, path);
	return 0;
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	loop.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return loop.signals < 0 ? -1 : watch(loop.signals, EVENT_SIGNAL);
}

/* In the order in which others see it: who can connect will be served. */
static int begin(const struct wishes *w)
{
	loop.epoll = epoll_create1(EPOLL_CLOEXEC);
	loop.store.max_age_ns = w->max_age_ns;
	loop.store.max_bytes = w->max_bytes;
	loop.batch.store = &loop.store;
	loop.batch.clients = &loop.clients;
	loop.batch.delay_ns = w->delay_ns;
	loop.batch.on_stored = news_stored;
	hook_init(&loop.hook, w->exec, w->exec_ns, loop.epoll, EVENT_HOOK,
		  &loop.batch);
	helds_init(&loop.helds, loop.epoll, &loop.batch);
	news_init(&loop.batch, &loop.hook, &loop.helds);
	if (loop.epoll < 0 || open_signals()) {
		say("%s", strerror(errno));
		return -1;
	}
	if (files_check(w->files, w->store) ||
	    store_open(&loop.store, store_where(w->store)) ||
	    files_open(&loop.files, w->files))
		return -1;
	klog_open(&loop.klog, w->kmsg);
	clients_init(&loop.clients, loop.epoll, &loop.batch, &loop.helds,
		     w->rate, w->clients);
	metrics_open(&loop.metrics, &loop.batch, w->metrics, w->latches);
	if (listening_open(&loop.listening, w->socket))
		return -1;
	if (watch(loop.listening.fd, EVENT_LISTENER) ||
	    (loop.files.notify >= 0 &&
	     watch(loop.files.notify, EVENT_FILES)) ||
	    watch_klog(w->kmsg) ||
	    (loop.metrics.latches.notify >= 0 &&
	     watch(loop.metrics.latches.notify, EVENT_LATCHES))) {
		say("%s", strerror(errno));
		return -1;
	}
	loop.keep_due_ns = clock_now();
	manager_tell("READY=1");
	return 0;
}

static void on_signal(void)
{
	struct signalfd_siginfo info;

	while (read(loop.signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			loop.ended = 1;
		else if (loop.files.path)
			loop.files.due_ns = clock_now();
	}
}

static void on_held(uint32_t i, uint32_t generation, uint32_t events)
{
	struct held_by by;

	if (held_event(&loop.helds, i, generation, events, &by))
		clients_drain(&loop.clients, by);
}

static void on_event(uint64_t data, uint32_t events)
{
	uint32_t what = (uint32_t)data;

	if (what == EVENT_LISTENER)
		clients_accept(&loop.clients, loop.listening.fd);
	else if (what == EVENT_SIGNAL)
		on_signal();
	else if (what == EVENT_FILES)
		files_changed(&loop.files);
	else if (what == EVENT_LATCHES)
		metrics_latches(&loop.metrics);
	else if (what == EVENT_KMSG)
		klog_turn(&loop.klog, &loop.batch);
	else if (what == EVENT_HOOK)
		hook_event(&loop.hook);
	else if (what >= HELD_EVENT)
		on_held(what - HELD_EVENT, (uint32_t)(data >> 32), events);
	else
		client_turn(&loop.clients, what);
}

static void keep(uint64_t now)
{
	uint64_t next;

	store_keep(&loop.store, &next);
	loop.keep_due_ns = next ? now + next : 0;
	loop.kept_at = loop.batch.put;
}

static int is_due(uint64_t at, uint64_t now)
{
	return at && at <= now;
}

static void on_time(void)
{
	uint64_t now = clock_now();

	if (is_due(loop.batch.due_ns, now))
		batch_put(&loop.batch);
	if (is_due(loop.files.due_ns, now))
		files_turn(&loop.files, &loop.batch);
	if (is_due(loop.klog.due_ns, now))
		klog_time(&loop.klog, &loop.batch);
	if (is_due(loop.helds.due_ns, now))
		held_time(&loop.helds);
	if (is_due(loop.hook.due_ns, now))
		hook_time(&loop.hook);
	/* the first row after none: from now on one grows old */
	if (!loop.keep_due_ns && loop.store.max_age_ns &&
	    loop.batch.put != loop.kept_at)
		loop.keep_due_ns = now + loop.store.max_age_ns;
	if (is_due(loop.keep_due_ns, now) ||
	    loop.batch.put - loop.kept_at >= KEEP_EVERY)
		keep(now);
	metrics_turn(&loop.metrics);
	if (unsaid)
		batch_count(&loop.batch, COUNT_UNSAID, unsaid);
	unsaid = 0;
}

/* Milliseconds, rounded up: who comes too early comes twice. */
static int patience(void)
{
	uint64_t dues[] = { loop.batch.due_ns, loop.files.due_ns,
			    loop.keep_due_ns, loop.klog.due_ns,
			    loop.helds.due_ns, loop.hook.due_ns,
			    loop.metrics.due_ns };
	uint64_t first = 0, now, ms;
	size_t i;

	for (i = 0; i < sizeof(dues) / sizeof(dues[0]); i++)
		if (dues[i] && (!first || dues[i] < first))
			first = dues[i];
	if (!first)
		return -1;
	now = clock_now();
	ms = first > now ? (first - now + 999999) / 1000000 : 0;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* What is still in the sockets was not acknowledged; what is here is put. */
static void end(void)
{
	manager_tell("STOPPING=1");
	listening_close(&loop.listening);
	klog_time(&loop.klog, &loop.batch);
	helds_close(&loop.helds);
	if (batch_put(&loop.batch) && loop.batch.n)
		say("%zu records could not be stored, and are lost",
		    loop.batch.n);
	hook_close(&loop.hook);
	if (loop.batch.due_ns && !loop.batch.n)
		batch_put(&loop.batch);	/* what was counted since */
	metrics_close(&loop.metrics);
	clients_close(&loop.clients);
	klog_close(&loop.klog);
	files_close(&loop.files);
	store_close(&loop.store);
}

int loop_run(const struct wishes *w)
{
	struct epoll_event events[EVENTS];
	int i, n;

	if (begin(w)) {
		store_close(&loop.store);
		return -1;
	}
	while (!loop.ended) {
		n = epoll_wait(loop.epoll, events, EVENTS, patience());
		for (i = 0; i < n; i++)
			on_event(events[i].data.u64, events[i].events);
		on_time();
	}
	end();
	return 0;
}
