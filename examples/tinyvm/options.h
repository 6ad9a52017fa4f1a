/* SPDX-License-Identifier: MIT */
#ifndef TINYVM_OPTIONS_H
#define TINYVM_OPTIONS_H

#include <stdint.h>

struct options {
	uint64_t poison;
	uint64_t seconds;
	uint64_t memory_mib;
	uint64_t vcpus;
	uint64_t seed;
	uint32_t vendor;	/* enum bez_vm_vendor; CPUID: as the host's */
	uint32_t backend;	/* enum bez_inject_backend */
	const char *kernel;	/* NULL: the one that is part of this program */
	const char *init;
	int lmce;
	int json;
};

/* Ends the program with status 2, or 0 after --help. */
void options_parse(int argc, char **argv, struct options *ret_options);

#endif
