/* SPDX-License-Identifier: MIT */
/* The same program without bezoar. */
#ifndef DEMO_WITHOUT_H
#define DEMO_WITHOUT_H

#include <stdint.h>

#include "poison.h"

/*
 * Run the workers in a child that has not started bezoar, and lose the first
 * page of the plan there. 0 and how the child ended, as waitpid(2) says it;
 * -1: said on stderr. Call it before bez_start().
 */
int without_bezoar(const struct poison *p, uint64_t seed, int *ret_status);

#endif
