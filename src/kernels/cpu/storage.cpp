#include "kernels/storage.h"

#include "kernels/cpu/dispatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/storage.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/storage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

void ReadRowTarget(Storage storage, const void* row, int64_t size, float* out) {
  WithStorage(storage, [&](auto kind) HWY_ATTR { ReadRow<kind>(static_cast<const Element<kind>*>(row), size, out); });
}

void WriteRowTarget(Storage storage, const float* row, int64_t size, void* out) {
  WithStorage(storage, [&](auto kind) HWY_ATTR { WriteRow<kind>(row, size, static_cast<Element<kind>*>(out)); });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(ReadRowTarget);
HWY_EXPORT(WriteRowTarget);

void read_row(Storage storage, const void* row, int64_t size, float* out) {
  apply_environment();
  HWY_DYNAMIC_DISPATCH(ReadRowTarget)(storage, row, size, out);
}

void write_row(Storage storage, const float* row, int64_t size, void* out) {
  apply_environment();
  HWY_DYNAMIC_DISPATCH(WriteRowTarget)(storage, row, size, out);
}

}  // namespace incontext::kernels
#endif
