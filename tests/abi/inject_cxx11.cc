// SPDX-License-Identifier: MIT
// inject.h in strict C++11, beside bezoar.h: a call of each kind.
#include <bezoar/inject.h>

#include <bezoar/bezoar.h>

#include <cerrno>
#include <cstdio>

int main()
{
	struct bez_inject_info info = {};
	bez_inject_t token = 7;

	if (bez_inject(nullptr, 0, BEZ_INJECT_AUTO, BEZ_INJECT_NO_UNDO,
		       &token) != -EINVAL || token != 7)
		return 1;
	info.size = sizeof(info);
	if (bez_inject_state(token, &info) != -ENOENT ||
	    bez_inject_undo(token) != -ENOENT ||
	    bez_inject_forget(token) != -ENOENT || bez_inject_frames_kept())
		return 2;
	std::printf("%s, %s\n", bez_inject_backend_name(BEZ_INJECT_MADV),
		    bez_inject_fidelity_name(BEZ_INJECT_FIDELITY_KERNEL));
	return 0;
}
