/* SPDX-License-Identifier: MIT */
/* The victim of a cell: memory, library, loss, and the verdict on it. */
#define _GNU_SOURCE
#include "matrix.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct matrix_action matrix_actions[] = {
	{ "replace", { BEZ_ACTION_REPLACE, BEZ_ACTION_DEFAULT }, 1 },
	{ "degrade", { BEZ_ACTION_REPLACE, BEZ_ACTION_DEGRADE }, 0 },
	{ "shutdown", { BEZ_ACTION_REPLACE, BEZ_ACTION_SHUTDOWN }, 0 },
	{ "default", { BEZ_ACTION_REPLACE, BEZ_ACTION_DEFAULT }, 0 },
};
const size_t matrix_n_actions = COUNT(matrix_actions);

/* No mirror is as large as the largest page. */
static int from_bytes(void *dst, size_t len, uint64_t offset, void *arg)
{
	size_t done;

	(void)arg;
	for (done = 0; done < len; done += SMALL)
		memcpy((char *)dst + done,
		       matrix_bytes + (offset + done) % MATRIX_BYTES, SMALL);
	return 0;
}

static void start(const struct matrix_cell *c, struct matrix_memory *m)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from = m->len <= MATRIX_BYTES ?
		bez_source_mirror(matrix_bytes) :
		bez_source_callback(from_bytes, NULL);
	bez_region_t region;

	matrix_former();
	/* early notice would have it replaced before anybody meets it */
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = matrix_link->records;
	CHECK_EQ(bez_start(&options), 0);
	policy.name = "matrix";
	policy.source = c->action->source ? &from : NULL;
	policy.shared = m->shared.size ? &m->shared : NULL;
	memcpy(policy.actions, c->action->ladder, sizeof(policy.actions));
	CHECK_EQ(bez_region_add(m->at, m->len, &policy, &region), 0);
}

static void trigger(struct matrix_memory *m)
{
	const struct matrix_cell *c = tap_data();

	if (m->unsplit || c->injection->inside)
		c->injection->lose(m);
	if (c->injection->meet)
		c->injection->meet(m);
	else if (c->page->meet && !c->trigger->call)
		c->page->meet(m);
	else
		c->trigger->meet(m);
}

static void victim(void)
{
	const struct matrix_cell *c = tap_data();
	struct matrix_memory m = { .fd = -1 };
	struct matrix_met met;

	c->page->make(&m, c->injection->foreign);
	matrix_link->unit = m.unit;
	matrix_link->made = 1;
	start(c, &m);
	if (c->page->ready)
		c->page->ready(&m);
	if (!m.unsplit && !c->injection->inside)
		c->injection->lose(&m);
	matrix_meet(c, &m, trigger, &met);
	matrix_judge(c, &m, &met);
	if (c->page->after)
		c->page->after(&m, c->expect.outcome->outcome ==
					   BEZ_OUTCOME_REPLACED);
}

void matrix_victim(const struct matrix_cell *c)
{
	if (c->page->around)
		c->page->around(victim);
	else
		victim();
}
