// SPDX-License-Identifier: MIT
// The header in strict C++11: every initializer, and a call of each kind.
#include <bezoar/bezoar.h>

#include <cstdio>
#include <cstring>

static int fill(void *dst, size_t len, uint64_t, void *)
{
	std::memset(dst, 1, len);
	return 0;
}

static bool sources()
{
	const bez_source list[] = {
		bez_source_mirror(nullptr),
		bez_source_file(0, 0),
		bez_source_callback(fill, nullptr),
		bez_source_deferred(fill, nullptr, 1),
	};
	const bez_source all = bez_source_first_of(list, 4);

	return all.list == list && all.count == 4 &&
	       list[1].kind == BEZ_SOURCE_FILE && list[2].fill == fill &&
	       bez_source_zero().kind == BEZ_SOURCE_ZERO &&
	       bez_source_salvage().kind == BEZ_SOURCE_SALVAGE &&
	       bez_source_of(BEZ_SOURCE_NONE).kind == BEZ_SOURCE_NONE;
}

static bool scopes()
{
	volatile bool good = false;

	BEZ_TRY {
		good = bez_lost_generation() == 0;
	} BEZ_CATCH(lost) {
		return lost->width == 0;
	}
	return good;
}

int main()
{
	bez_options options = BEZ_OPTIONS_INIT;
	bez_policy policy = BEZ_POLICY_INIT;
	struct bez_status status = {};
	bez_event event = {};
	uint64_t seq = 0;

	options.flags = BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL;
	if (!sources() || policy.size != sizeof(policy))
		return 1;
	if (bez_start(&options))
		return 2;
	status.size = sizeof(status);
	// Struct and function share a name; the plain one is the function.
	if (bez_status(&status) || !status.started)
		return 3;
	if (!scopes())
		return 6;
	if (bez_events(&seq, &event, 1) < 0)
		return 4;
	std::printf("%s, %s\n", bez_version(),
		    bez_outcome_name(BEZ_OUTCOME_REPLACED));
	return bez_stop() ? 5 : 0;
}
