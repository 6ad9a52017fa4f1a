/* SPDX-License-Identifier: MIT */
#include "show.h"

#include <bezoar/bezoar.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "escape.h"

#define BILLION 1000000000u

static const char *const actions[] = {
	"none", "replace", "degrade", "shutdown", "default",
};
static const char *const sources[] = {
	"none", "zero", "mirror", "file", "callback", "deferred", "first of",
	"salvage",
};

#define NAME_OF(table, n) \
	((n) < sizeof(table) / sizeof((table)[0]) ? (table)[n] : "unknown")

static const char *outcome(uint16_t n)
{
	return bez_outcome_name((enum bez_outcome)n);
}

static const char *cause(uint16_t n)
{
	return bez_cause_name((enum bez_cause)n);
}

/* 2026-11-26T18:16:13.123456789Z */
static const char *when(uint64_t ns, char ret[64])
{
	time_t s = (time_t)(ns / BILLION);
	struct tm tm;
	size_t len;

	memset(&tm, 0, sizeof(tm));
	gmtime_r(&s, &tm);
	len = strftime(ret, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret + len, 64 - len, ".%09uZ", (unsigned int)(ns % BILLION));
	return ret;
}

static const char *boot(const uint8_t id[16], char ret[40])
{
	char *to = ret;
	size_t i;

	for (i = 0; i < 16; i++)
		to += sprintf(to, "%s%02x",
			      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			      id[i]);
	return ret;
}

static int knows_boot(const struct bez_record *r)
{
	static const uint8_t none[16];

	return memcmp(r->boot_id, none, sizeof(none)) != 0;
}

static void place(const struct bez_record *r)
{
	char name[ESCAPED(sizeof(r->name))];

	printf("  where     0x%" PRIx64, r->addr);
	if (r->width)
		printf(", %" PRIu64 " bytes", r->width);
	if (r->region)
		printf(", region \"%s\" + 0x%" PRIx64,
		       escape(name, r->name, sizeof(r->name)), r->offset);
	if (r->flags & BEZ_RECORD_HAS_FRAME)
		printf(", page frame 0x%" PRIx64, r->frame);
	if (r->ip)
		printf(", instruction 0x%" PRIx64, r->ip);
	putchar('\n');
}

static void process(const struct bez_record *r)
{
	char comm[ESCAPED(sizeof(r->comm))], group[ESCAPED(sizeof(r->cgroup))];
	char id[40];

	printf("  process   %" PRId32 " \"%s\", thread %" PRId32
	       ", cgroup \"%s%s\"\n", r->pid,
	       escape(comm, r->comm, sizeof(r->comm)), r->tid,
	       r->flags & BEZ_RECORD_CGROUP_CUT ? "..." : "",
	       escape(group, r->cgroup, sizeof(r->cgroup)));
	printf("            %s at tick %" PRIu64,
	       r->flags & BEZ_RECORD_BARE_CHILD ?
	       "a bare clone; the boot's" : "began", r->start_ticks);
	if (knows_boot(r))
		printf(" of boot %s", boot(r->boot_id, id));
	putchar('\n');
}

static void stored(const struct bez_record *r, const struct show_from *from)
{
	char text[64];

	printf("  stored    as %" PRId64 " on %s, %s %" PRIu32, from->number,
	       when(from->taken_ns, text),
	       from->is_file ? "from a file of user" : "sent by user",
	       from->uid);
	if (from->pid != r->pid)
		printf(", process %" PRId32 " here", from->pid);
	putchar('\n');
}

void show_text(const struct bez_record *r, const struct show_from *from)
{
	char text[64];

	printf("%s  %s (O%u)\n", when(r->wall_ns, text), outcome(r->outcome),
	       r->outcome);
	printf("  cause     %s (C%u), code %" PRId32 "\n", cause(r->cause),
	       r->cause, r->si_code);
	if (r->why)
		printf("  why       %s (O%u)\n", outcome(r->why), r->why);
	place(r);
	printf("  by        action %s, source %s, depth %u, in %" PRIu64
	       " ns\n", NAME_OF(actions, r->action),
	       NAME_OF(sources, r->source), r->depth, r->took_ns);
	process(r);
	printf("  number    %" PRIu64 "; up to then %" PRIu64 " faults, %" PRIu64
	       " replaced, %" PRIu64 " not, %" PRIu64 " foreign, %" PRIu64
	       " records dropped\n", r->id, r->faults, r->replaced,
	       r->not_replaced, r->foreign, r->dropped);
	printf("  digest    %016" PRIx64 "\n", r->digest);
	if (from)
		stored(r, from);
}

/* ---------------------------------------------------------------------- JSON */

static json_t *hex(uint64_t n)
{
	return json_sprintf("0x%" PRIx64, n);
}

/* What does not fit a signed number is a string. */
static json_t *count(uint64_t n)
{
	return n <= INT64_MAX ? json_integer((json_int_t)n) :
				json_sprintf("%" PRIu64, n);
}

static json_t *code(uint16_t n, const char *name)
{
	return json_pack("{s:i, s:s}", "number", (int)n, "name", name);
}

static json_t *name(const char *bytes, size_t len)
{
	char text[ESCAPED(sizeof(((struct bez_record *)0)->cgroup))];

	return json_string(escape(text, bytes, len));
}

static json_t *stored_as(const struct show_from *from)
{
	char text[64];

	return json_pack("{s:I, s:s, s:i, s:I, s:s}",
			 "number", (json_int_t)from->number,
			 "taken", when(from->taken_ns, text),
			 "pid", (int)from->pid, "uid", (json_int_t)from->uid,
			 "from", from->is_file ? "file" : "socket");
}

/* json_object_set_new() takes NULL for what could not be made, and says so. */
static char *line_of(json_t *o, int bad)
{
	char *line = bad ? NULL :
		     json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII);

	json_decref(o);
	return line;
}

char *show_json_text(const struct bez_record *r, const struct show_from *from)
{
	json_t *o = json_object();
	char text[64];
	int bad = 0;

#define SET(key, value) (bad |= json_object_set_new(o, key, value))
	SET("version", json_integer(r->version));
	SET("id", count(r->id));
	SET("wall", json_string(when(r->wall_ns, text)));
	SET("wall_ns", count(r->wall_ns));
	SET("boot_ns", count(r->boot_ns));
	SET("mono_ns", count(r->mono_ns));
	SET("took_ns", count(r->took_ns));
	SET("boot_id", knows_boot(r) ? json_string(boot(r->boot_id, text)) :
				       json_null());
	SET("pid", json_integer(r->pid));
	SET("tid", json_integer(r->tid));
	SET("start_ticks", count(r->start_ticks));
	SET("bare_child", json_boolean(r->flags & BEZ_RECORD_BARE_CHILD));
	SET("comm", name(r->comm, sizeof(r->comm)));
	SET("cgroup", name(r->cgroup, sizeof(r->cgroup)));
	SET("cgroup_cut", json_boolean(r->flags & BEZ_RECORD_CGROUP_CUT));
	SET("cause", code(r->cause, cause(r->cause)));
	SET("si_code", json_integer(r->si_code));
	SET("outcome", code(r->outcome, outcome(r->outcome)));
	SET("why", r->why ? code(r->why, outcome(r->why)) : json_null());
	SET("action", code(r->action, NAME_OF(actions, r->action)));
	SET("source", code(r->source, NAME_OF(sources, r->source)));
	SET("depth", json_integer(r->depth));
	SET("addr", hex(r->addr));
	SET("width", count(r->width));
	SET("ip", hex(r->ip));
	SET("region", r->region ? hex(r->region) : json_null());
	SET("name", name(r->name, sizeof(r->name)));
	SET("offset", count(r->offset));
	SET("frame", r->flags & BEZ_RECORD_HAS_FRAME ? hex(r->frame) :
						       json_null());
	SET("faults", count(r->faults));
	SET("replaced", count(r->replaced));
	SET("not_replaced", count(r->not_replaced));
	SET("foreign", count(r->foreign));
	SET("dropped", count(r->dropped));
	SET("digest", json_sprintf("%016" PRIx64, r->digest));
	if (from)
		SET("stored", stored_as(from));
#undef SET
	return line_of(o, bad);
}

int show_json(const struct bez_record *r, const struct show_from *from)
{
	char *line = show_json_text(r, from);

	if (!line)
		return -1;
	puts(line);
	free(line);
	return 0;
}

char *show_death_json(int64_t number, int32_t pid, uint32_t uid,
		      uint64_t start_ticks, const char *comm, size_t comm_len,
		      int32_t status, int64_t told)
{
	json_t *o = json_object();
	int by = status != -1 && WIFSIGNALED(status), bad = 0;

	bad |= json_object_set_new(o, "death", json_integer(number));
	bad |= json_object_set_new(o, "pid", json_integer(pid));
	bad |= json_object_set_new(o, "uid", json_integer(uid));
	bad |= json_object_set_new(o, "start_ticks", count(start_ticks));
	bad |= json_object_set_new(o, "comm", name(comm, comm_len));
	bad |= json_object_set_new(o, "status", status == -1 ? json_null() :
				   json_integer(status));
	bad |= json_object_set_new(o, "signal", by ?
				   json_integer(WTERMSIG(status)) :
				   json_null());
	bad |= json_object_set_new(o, "exit", status != -1 && !by ?
				   json_integer(WEXITSTATUS(status)) :
				   json_null());
	bad |= json_object_set_new(o, "told", told ? json_integer(told) :
						 json_null());
	return line_of(o, bad);
}
