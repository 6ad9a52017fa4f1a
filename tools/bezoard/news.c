/* SPDX-License-Identifier: MIT */
#include "news.h"

#include <bezoar/bezoar.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>

#include "../escape.h"
#include "../show.h"
#include "held.h"
#include "hook.h"
#include "journal.h"

#define SECOND	1000000000ull
#define WHILE	(10 * SECOND)		/* in such a time, */
#define MOST	20			/* so many of a kind are said of each */
#define USERS	16			/* user; and of so many users */

enum kind { OF_RECORD, OF_DEATH, OF_KERNEL, KINDS };

static struct news {
	struct batch *batch;
	struct hook *hook;
	struct helds *helds;
	struct rate {
		uint32_t uid;
		uint64_t since;
		uint64_t said, unsaid;
	} rate[KINDS][USERS];
} news;

void news_init(struct batch *batch, struct hook *hook, struct helds *helds)
{
	news.batch = batch;
	news.hook = hook;
	news.helds = helds;
}

/* That of this user, or one of who has said nothing for a while. NULL: there is none. */
static struct rate *rate_of(enum kind kind, uint32_t uid, uint64_t now)
{
	struct rate *rates = news.rate[kind], *oldest = rates;
	int i;

	for (i = 0; i < USERS; i++) {
		if (rates[i].since && rates[i].uid == uid)
			return &rates[i];
		if (rates[i].since < oldest->since)
			oldest = &rates[i];
	}
	if (oldest->since && now - oldest->since < WHILE)
		return NULL;
	*oldest = (struct rate){ .uid = uid, .since = now };
	return oldest;
}

/* *@ret_more: of how many before it nothing was said. */
static int may_say(enum kind kind, uint32_t uid, uint64_t *ret_more)
{
	uint64_t now = clock_now();
	struct rate *rate = rate_of(kind, uid, now);

	if (rate && now - rate->since >= WHILE) {
		rate->since = now;
		rate->said = 0;
	}
	if (!rate || rate->said == MOST) {
		if (rate)
			rate->unsaid++;
		/* with the next commit: that is not worth one */
		news.batch->store->counts[COUNT_UNSAID]++;
		return 0;
	}
	rate->said++;
	*ret_more = rate->unsaid;
	rate->unsaid = 0;
	return 1;
}

/* " (and 12 before it)" */
static const char *and_more(uint64_t more, char ret[48])
{
	ret[0] = '\0';
	if (more)
		snprintf(ret, 48, " (and %" PRIu64 " before it)", more);
	return ret;
}

/* ---------------------------------------------------------------------- records */

static void say_record(const struct item *item, const struct bez_record *r)
{
	char comm[ESCAPED(sizeof(r->comm))], name[ESCAPED(sizeof(r->name))];
	struct journal j = { .id = JOURNAL_RECORD, .priority = LOG_WARNING };
	char more[48], frame[40] = "";
	uint64_t n;

	if (!may_say(OF_RECORD, item->uid, &n))
		return;
	escape(comm, r->comm, sizeof(r->comm));
	escape(name, r->name, sizeof(r->name));
	journal_field(&j, "BEZOAR_NUMBER=%" PRId64, item->number);
	journal_field(&j, "BEZOAR_PID=%" PRId32, item->pid);
	journal_field(&j, "BEZOAR_UID=%" PRIu32, item->uid);
	journal_field(&j, "BEZOAR_COMM=%s", comm);
	journal_field(&j, "BEZOAR_REGION=%s", name);
	journal_field(&j, "BEZOAR_OUTCOME=O%u", r->outcome);
	journal_field(&j, "BEZOAR_CAUSE=C%u", r->cause);
	journal_field(&j, "BEZOAR_ADDR=0x%" PRIx64, r->addr);
	journal_field(&j, "BEZOAR_ID=%" PRIu64, r->id);
	if (r->flags & BEZ_RECORD_HAS_FRAME) {
		journal_field(&j, "BEZOAR_FRAME=0x%" PRIx64, r->frame);
		snprintf(frame, sizeof(frame), ", page frame 0x%" PRIx64,
			 r->frame);
	}
	journal_say(&j, "record %" PRId64 ": process %" PRId32 " \"%s\" has "
		    "lost memory at 0x%" PRIx64 "%s: %s (O%u)%s", item->number,
		    item->pid, comm, r->addr, frame,
		    bez_outcome_name((enum bez_outcome)r->outcome), r->outcome,
		    and_more(n, more));
}

static void record(const struct item *item)
{
	struct show_from from = {
		.number = item->number, .taken_ns = (uint64_t)item->taken_ns,
		.pid = item->pid, .uid = item->uid,
		.is_file = item->origin == ORIGIN_FILE,
	};
	struct bez_record r;

	if (item->origin == ORIGIN_SOCKET)
		held_told(news.helds, item);
	if (!item->is_new)
		return;
	memcpy(&r, item->raw, sizeof(r));
	say_record(item, &r);
	if (news.hook->command)
		hook_run(news.hook, item->uid,
			 show_string(show_object(&r, &from)));
}

/* ----------------------------------------------------------------------- deaths */

static const char *how(int32_t status, char ret[64])
{
	if (status == -1)
		snprintf(ret, 64, "nobody could say how");
	else if (WIFSIGNALED(status))
		snprintf(ret, 64, "of signal %d%s", WTERMSIG(status),
			 WTERMSIG(status) == SIGBUS ? " (SIGBUS)" : "");
	else
		snprintf(ret, 64, "with status %d", WEXITSTATUS(status));
	return ret;
}

static void death(const struct item *item)
{
	struct journal j = { .id = JOURNAL_DEATH, .priority = LOG_ERR };
	const struct item_death *d = &item->more.death;
	const struct show_death shown = {
		.number = item->number, .told = d->told,
		.start_ticks = d->start_ticks, .pid = item->pid,
		.uid = item->uid, .status = d->status,
		.comm = (const char *)item->raw, .comm_len = item->bytes,
	};
	char comm[ESCAPED(16)], more[48], text[64];
	uint64_t n;

	escape(comm, (const char *)item->raw, item->bytes);
	if (news.hook->command)
		hook_run(news.hook, item->uid,
			 show_string(show_death(&shown)));
	/* of the others their record has spoken */
	if (d->told || !may_say(OF_DEATH, item->uid, &n))
		return;
	journal_field(&j, "BEZOAR_NUMBER=%" PRId64, item->number);
	journal_field(&j, "BEZOAR_PID=%" PRId32, item->pid);
	journal_field(&j, "BEZOAR_UID=%" PRIu32, item->uid);
	journal_field(&j, "BEZOAR_COMM=%s", comm);
	journal_field(&j, "BEZOAR_STATUS=%" PRId32, d->status);
	journal_say(&j, "process %" PRId32 " \"%s\" of user %" PRIu32 " HAS "
		    "DIED OF SIGBUS WITHOUT A WORD: %s, and it has sent no "
		    "record of that. See what the kernel says of lost memory "
		    "at that time%s", item->pid, comm, item->uid,
		    how(d->status, text), and_more(n, more));
}

/* ----------------------------------------------------------------- kernel lines */

static void kernel(const struct item *item)
{
	struct journal j = { .id = JOURNAL_KERNEL, .priority = LOG_WARNING };
	const struct item_kernel *line = &item->more.kernel;
	char text[ESCAPED(160)], more[48];
	const char *end;
	size_t len;
	uint64_t n;

	if (!item->is_new || line->frame < 0 || !may_say(OF_KERNEL, 0, &n))
		return;
	/* the first of several lines */
	end = memchr(item->raw, '\n', item->bytes);
	len = end ? (size_t)(end - (const char *)item->raw) : item->bytes;
	escape(text, (const char *)item->raw, len < 160 ? len : 160);
	journal_field(&j, "BEZOAR_NUMBER=%" PRId64, item->number);
	journal_field(&j, "BEZOAR_KIND=%s", line->kind);
	journal_field(&j, "BEZOAR_FRAME=0x%" PRIx64, (uint64_t)line->frame);
	journal_field(&j, "BEZOAR_DIMM=%s", line->dimm);
	journal_field(&j, "BEZOAR_SEQ=%" PRIu64, line->seq);
	if (item->pid)
		journal_field(&j, "BEZOAR_PID=%" PRId32, item->pid);
	journal_say(&j, "the kernel says of page frame 0x%" PRIx64 "%s%s: %s%s",
		    (uint64_t)line->frame, line->dimm[0] ? " in " : "",
		    line->dimm, text, and_more(n, more));
}

void news_stored(const struct item *item)
{
	if (item->kind == ITEM_RECORD)
		record(item);
	else if (item->kind == ITEM_DEATH)
		death(item);
	else if (item->kind == ITEM_KERNEL)
		kernel(item);
}
