/* SPDX-License-Identifier: MIT */
/*
 * libbezoar-inject in strict C99, without bezoar.h: a page is lost and comes
 * back, where this machine can lose one.
 */
#include <bezoar/inject.h>
#include <stdio.h>
#include <string.h>

#define ALIGN 65536u	/* a multiple of every base page size */

static unsigned char memory[2 * ALIGN];

static int failed(const char *what, int error)
{
	fprintf(stderr, "%s: %d\n", what, error);
	return 1;
}

int main(void)
{
	struct bez_inject_info info = { 0 };
	bez_inject_t token;
	unsigned char *start;
	int able = bez_inject_available(BEZ_INJECT_UFFD), error;

	start = memory + (ALIGN - (uintptr_t)memory % ALIGN) % ALIGN;
	if (!able != !strcmp(bez_inject_why(BEZ_INJECT_UFFD), "usable"))
		return failed(bez_inject_why(BEZ_INJECT_UFFD), able);
	if (strcmp(bez_inject_backend_name(BEZ_INJECT_UFFD), "uffd") ||
	    bez_inject_fidelity(BEZ_INJECT_UFFD) !=
	    BEZ_INJECT_FIDELITY_EMULATED)
		return failed("names", 0);
	memset(start, 'b', ALIGN);
	error = bez_inject(start, ALIGN, BEZ_INJECT_UFFD, 0, &token);
	if (able)
		return error ? 0 : failed("bez_inject", error);
	if (error)
		return failed("bez_inject", error);
	info.size = sizeof(info);
	error = bez_inject_state(token, &info);
	if (error || info.addr != start || info.poisoned != info.pages ||
	    info.undo != BEZ_INJECT_UNDO_FULL)
		return failed("bez_inject_state", error);
	error = bez_inject_undo(token);
	if (error || start[0] != 'b' || start[ALIGN - 1] != 'b')
		return failed("bez_inject_undo", error);
	return 0;
}
