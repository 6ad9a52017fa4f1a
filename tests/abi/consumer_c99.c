/* SPDX-License-Identifier: MIT */
/*
 * A program as a user may write it, in strict C99, with bzip2 as a neighbour:
 * its names begin with bz and BZ_, bezoar's must not get into their way.
 */
#include <bezoar/bezoar.h>
#include <bzlib.h>
#include <stdio.h>
#include <string.h>

#define ALIGN 65536u	/* a multiple of every base page size */

static unsigned char memory[3 * ALIGN];

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	memset(dst, 1, len);
	return 0;
}

static int failed(const char *what, int error)
{
	fprintf(stderr, "%s: %d\n", what, error);
	return 1;
}

/* Every way to make a source gives the kind that it is called by. */
static int sources(void *mirror)
{
	struct bez_source list[5];

	list[0] = bez_source_mirror(mirror);
	list[1] = bez_source_file(0, 0);
	list[2] = bez_source_callback(fill, NULL);
	list[3] = bez_source_deferred(fill, NULL, 1);
	list[4] = bez_source_first_of(list, 4);
	return list[0].kind == BEZ_SOURCE_MIRROR &&
	       list[1].kind == BEZ_SOURCE_FILE &&
	       list[2].kind == BEZ_SOURCE_CALLBACK &&
	       list[3].kind == BEZ_SOURCE_DEFERRED &&
	       list[4].kind == BEZ_SOURCE_FIRST_OF &&
	       bez_source_zero().kind == BEZ_SOURCE_ZERO &&
	       bez_source_salvage().kind == BEZ_SOURCE_SALVAGE &&
	       bez_source_of(BEZ_SOURCE_NONE).kind == BEZ_SOURCE_NONE;
}

/* In a scope in a scope: nothing is lost there. */
static int scopes(const unsigned char *at)
{
	volatile int good = 0;

	BEZ_TRY {
		BEZ_TRY {
			good = !at[0] && !bez_lost_in(at, 1);
		} BEZ_CATCH(lost) {
			return lost->width == 0;
		}
	} BEZ_CATCH(lost) {
		return lost->width == 0;
	}
	return good;
}

int main(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_region_info info = { 0 };
	struct bez_status status = { 0 };
	struct bez_source from;
	bez_region_t region;
	unsigned char *start;
	int error;

	start = memory + (ALIGN - (uintptr_t)memory % ALIGN) % ALIGN;
	if (!sources(start))
		return failed("bez_source_*", 0);
	from = bez_source_mirror(start + ALIGN);
	policy.source = &from;
	policy.name = BZ2_bzlibVersion();
	options.flags = BEZ_START_NO_EARLY_KILL;

	error = bez_start(&options);
	if (error)
		return failed("bez_start", error);
	error = bez_region_add(start, ALIGN, &policy, &region);
	if (error)
		return failed("bez_region_add", error);
	info.size = sizeof(info);
	error = bez_region_info(region, &info);
	if (error || info.addr != start || strcmp(info.name, policy.name))
		return failed("bez_region_info", error);
	status.size = sizeof(status);
	error = bez_status(&status);
	if (error || status.regions != 1)
		return failed("bez_status", error);
	if (!scopes(start))
		return failed("BEZ_TRY", 0);
	error = bez_region_remove(region);
	if (error)
		return failed("bez_region_remove", error);
	error = bez_stop();
	return error ? failed("bez_stop", error) : 0;
}
