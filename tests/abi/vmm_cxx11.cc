// SPDX-License-Identifier: MIT
// A C++11 program that is built against the installed libbezoar-vmm.
#include <bezoar/vmm.h>

int main()
{
	bez_vm_options options = bez_vm_options();
	bez_vm *vm = nullptr;
	uint64_t gpa = 0;
	auto *translate = &bez_vm_gpa;

	options.size = sizeof(options);
	options.not_ready = BEZ_VM_NOT_READY_PAUSE;
	return bez_vm_create(&options, &vm) == 0 || vm || gpa || !translate;
}
