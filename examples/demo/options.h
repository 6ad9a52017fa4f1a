/* SPDX-License-Identifier: MIT */
/* What the command line asks for. */
#ifndef DEMO_OPTIONS_H
#define DEMO_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

struct options {
	const char **dirs;	/* real files come from here, and below */
	size_t dir_count;
	uint64_t size_mib;	/* of files held in memory */
	uint64_t poison;	/* pages lost in all */
	uint64_t rate;		/* of these, in a second */
	uint64_t scratch;	/* pages lost of the area without a source */
	uint64_t seed;		/* which files, which pages, in which order */
	uint32_t backend;	/* enum bez_inject_backend */
	int digests;		/* bezoar is told what each page must be */
	int json;
	int die;		/* show the orderly end, and nothing else */
	int dry_run;		/* say what would be lost, lose nothing */
};

/* Ends the program on --help, and with status 2 on anything unclear. */
void options_parse(int argc, char **argv, struct options *ret_options);

#endif
