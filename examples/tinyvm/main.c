/* SPDX-License-Identifier: MIT */
/*
 * tinyvm: a virtual machine monitor with libbezoar-vmm. What it has to do for it is
 * in machine.c (set up) and vcpu.c (run).
 */
#include <bezoar/inject.h>
#include <stdio.h>

#include "linux/linux.h"
#include "machine.h"
#include "options.h"
#include "poisoner.h"
#include "report.h"

static int can_lose(const struct options *o)
{
	if (!bez_inject_available(o->backend))
		return 1;
	fprintf(stderr, "tinyvm: cannot run here: no page can be lost: %s\n",
		bez_inject_why(o->backend));
	return 0;
}

int main(int argc, char **argv)
{
	static struct machine machine;
	struct options options;
	struct result result = { .machine = &machine };
	int r;

	options_parse(argc, argv, &options);
	if (!can_lose(&options))
		return CANNOT;
	if (options.kernel)
		return linux_main(&options);
	r = machine_make(&machine, &options);
	if (r)
		return r == CANNOT ? CANNOT : 1;
	result_begin(&result);
	result.broke_off = machine_start(&machine) ||
			   poisoner_run(&result.poisoner, &machine);
	result_end(&result);
	result.broke_off |= machine_stop(&machine) != 0;
	r = report(&result) ? 0 : 1;
	machine_end(&machine);
	return r;
}
