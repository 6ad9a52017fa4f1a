/* SPDX-License-Identifier: MIT */
#include "show.h"

#include <bezoar/bezoar.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "color.h"
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
	if (show_knows_boot(r))
		printf(" of boot %s", show_boot(r->boot_id, id));
	putchar('\n');
}

static void stored(const struct bez_record *r, const struct show_from *from)
{
	char text[WHEN_ROOM], dimm[ESCAPED(SHOW_DIMM)];

	printf("  stored    as %" PRId64 " on %s, %s %" PRIu32, from->number,
	       when_ns(from->taken_ns, text),
	       from->is_file ? "from a file of user" : "sent by user",
	       from->uid);
	if (from->pid != r->pid)
		printf(", process %" PRId32 " here", from->pid);
	putchar('\n');
	if (!from->is_placed)
		return;
	printf("  lies in   ");
	if (from->frame >= 0)
		printf("page frame 0x%" PRIx64 "%s", (uint64_t)from->frame,
		       *from->dimm ? ", " : "");
	if (*from->dimm)
		printf("memory module %s", escape(dimm, from->dimm,
						  strnlen(from->dimm, SHOW_DIMM)));
	putchar('\n');
}

void show_text(const struct bez_record *r, const struct show_from *from)
{
	enum fate fate = fate_of(r->outcome);
	char text[WHEN_ROOM];

	printf("%s  %s%s (O%u)%s\n", when_ns(r->wall_ns, text), color_of(fate),
	       outcome(r->outcome), r->outcome,
	       *color_of(fate) ? color_off() : "");
	printf("  cause     %s (C%u), code %" PRId32 "\n", cause(r->cause),
	       r->cause, r->si_code);
	if (r->why)
		printf("  why       %s (O%u)\n", outcome(r->why), r->why);
	place(r);
	printf("  by        action %s, source %s, depth %u, in %" PRIu64
	       " ns\n", word_action(r->action),
	       word_source(r->source), r->depth, r->took_ns);
	process(r);
	printf("  number    %" PRIu64 "; up to then %" PRIu64 " faults, %" PRIu64
	       " replaced, %" PRIu64 " not, %" PRIu64 " foreign, %" PRIu64
	       " records dropped\n", r->id, r->faults, r->replaced,
	       r->not_replaced, r->foreign, r->dropped);
	printf("  digest    %016" PRIx64 "\n", r->digest);
	if (from)
		stored(r, from);
}
