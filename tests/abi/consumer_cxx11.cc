// SPDX-License-Identifier: MIT
// The header in strict C++11: every initializer, and a call of each kind.
#include <bezoar/bezoar.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

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

// Other machines are emulated here, and no mapping is as the kernel has it.
#if defined(__x86_64__)
static const bool is_emulated = false;
#else
static const bool is_emulated = true;
#endif

// Says when it has gone.
struct noted {
	explicit noted(volatile int *n) : gone(n) {}
	~noted() { *gone = *gone + 1; }
	noted(const noted &) = delete;
	noted &operator=(const noted &) = delete;
	volatile int *gone;
};

static void nothing(void *) {}

// An exception leaves a TRY, and with that the scope.
static bool thrown()
{
	struct bez_scope_cleanup cleanup;
	volatile int gone = 0, caught = 0;

	try {
		BEZ_TRY {
			noted here(&gone);
			if (bez_scope_cleanup(&cleanup, nothing, nullptr) == 0)
				throw 7;
		} BEZ_CATCH(lost) {
			return lost->width == 0;
		}
	} catch (int n) {
		caught = n;
	}
	return caught == 7 && gone == 1 &&
	       bez_scope_cleanup(&cleanup, nothing, nullptr) == -EINVAL;
}

__attribute__((noinline)) static char touch(const volatile char *at,
					    volatile int *gone)
{
	noted here(gone);

	return *at;
}

// A jump is no exception: no destructor is run, no handler is looked for. A file
// that was cut will do for a loss.
static bool jumped()
{
	const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
	volatile int gone = 0, caught = 0;
	bez_policy policy = BEZ_POLICY_INIT;
	std::FILE *file = std::tmpfile();
	bez_region_t region;
	void *at;

	if (!file || ftruncate(fileno(file), static_cast<off_t>(page)))
		return false;
	at = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		  fileno(file), 0);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	if (at == MAP_FAILED || bez_region_add(at, page, &policy, &region) ||
	    ftruncate(fileno(file), 0))
		return false;
	try {
		BEZ_TRY {
			touch(static_cast<char *>(at) + 5, &gone);
			return false;
		} BEZ_CATCH(lost) {
			caught = lost->addr == at && lost->width == page;
		}
	} catch (...) {
		return false;
	}
	return caught && gone == 0 && !bez_region_remove(region) &&
	       !munmap(at, page) && !std::fclose(file);
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
	if (!thrown())
		return 7;
	if (!is_emulated && !jumped())
		return 8;
	if (bez_events(&seq, &event, 1) < 0)
		return 4;
	std::printf("%s, %s\n", bez_version(),
		    bez_outcome_name(BEZ_OUTCOME_REPLACED));
	return bez_stop() ? 5 : 0;
}
