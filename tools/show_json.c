/* SPDX-License-Identifier: MIT */
/* As objects of JSON: a record, a death. */
#include "show.h"

#include <bezoar/bezoar.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "escape.h"
#include "when.h"
#include "words.h"

static const char *outcome(uint16_t n)
{
	return bez_outcome_name((enum bez_outcome)n);
}

static const char *cause(uint16_t n)
{
	return bez_cause_name((enum bez_cause)n);
}

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
	char text[WHEN_ROOM], dimm[ESCAPED(SHOW_DIMM)];
	json_t *o = json_pack("{s:I, s:s, s:i, s:I, s:s}",
			      "number", (json_int_t)from->number,
			      "taken", when_ns(from->taken_ns, text),
			      "pid", (int)from->pid,
			      "uid", (json_int_t)from->uid,
			      "from", from->is_file ? "file" : "socket");

	if (!o || !from->is_placed)
		return o;
	if (json_object_set_new(o, "frame", from->frame < 0 ? json_null() :
				hex((uint64_t)from->frame)) ||
	    json_object_set_new(o, "dimm", !*from->dimm ? json_null() :
				json_string(escape(dimm, from->dimm,
						   strnlen(from->dimm,
							   SHOW_DIMM))))) {
		json_decref(o);
		return NULL;
	}
	return o;
}

const char *show_boot(const uint8_t id[16], char ret[40])
{
	char *to = ret;
	size_t i;

	for (i = 0; i < 16; i++)
		to += sprintf(to, "%s%02x",
			      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			      id[i]);
	return ret;
}

int show_knows_boot(const struct bez_record *r)
{
	static const uint8_t none[16];

	return memcmp(r->boot_id, none, sizeof(none)) != 0;
}

/* json_object_set_new() takes NULL for what could not be made, and says so. */
json_t *show_object(const struct bez_record *r, const struct show_from *from)
{
	json_t *o = json_object();
	char text[WHEN_ROOM];
	int bad = 0;

#define SET(key, value) (bad |= json_object_set_new(o, key, value))
	SET("version", json_integer(r->version));
	SET("id", count(r->id));
	SET("wall", json_string(when_ns(r->wall_ns, text)));
	SET("wall_ns", count(r->wall_ns));
	SET("boot_ns", count(r->boot_ns));
	SET("mono_ns", count(r->mono_ns));
	SET("took_ns", count(r->took_ns));
	SET("boot_id", show_knows_boot(r) ? json_string(show_boot(r->boot_id, text)) :
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
	SET("action", code(r->action, word_action(r->action)));
	SET("source", code(r->source, word_source(r->source)));
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
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

int show_line(json_t *o)
{
	int bad = o ? json_dumpf(o, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) :
		      -1;

	json_decref(o);
	putchar('\n');
	return bad ? -1 : 0;
}

char *show_string(json_t *o)
{
	char *line = o ? json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

	json_decref(o);
	return line;
}

json_t *show_death(const struct show_death *d)
{
	int by = d->status != -1 && WIFSIGNALED(d->status), bad = 0;
	json_t *o = json_object();

	bad |= json_object_set_new(o, "death", json_integer(d->number));
	bad |= json_object_set_new(o, "pid", json_integer(d->pid));
	bad |= json_object_set_new(o, "uid", json_integer(d->uid));
	bad |= json_object_set_new(o, "start_ticks", count(d->start_ticks));
	bad |= json_object_set_new(o, "comm", name(d->comm, d->comm_len));
	bad |= json_object_set_new(o, "status", d->status == -1 ? json_null() :
				   json_integer(d->status));
	bad |= json_object_set_new(o, "signal", by ?
				   json_integer(WTERMSIG(d->status)) :
				   json_null());
	bad |= json_object_set_new(o, "exit", d->status != -1 && !by ?
				   json_integer(WEXITSTATUS(d->status)) :
				   json_null());
	bad |= json_object_set_new(o, "told", d->told ?
				   json_integer(d->told) : json_null());
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}
