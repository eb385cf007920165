#include "passes/KvGroups.h"

#include <algorithm>

#include "passes/KernelShapes.h"

namespace llmc {

int64_t KvGroup::block_bytes(int64_t block_tokens) const { return 2 * kv_heads * block_tokens * kv_entry_bytes(element, head_dim); }

std::vector<KvGroup> kv_groups(mlir::Operation* op) {
  std::vector<KvGroup> groups;
  op->walk([&](ops::KvCacheOp cache) {
    const int64_t window = cache.getWindow(), heads = cache.getKvHeads(), head_dim = cache.getHeadDim(), layer = cache.getLayer();
    auto it = std::find_if(groups.begin(), groups.end(), [&](const KvGroup& g) {
      return g.window == window && g.kv_heads == heads && g.head_dim == head_dim && g.element == cache.getElement();
    });
    if (it == groups.end()) it = groups.insert(it, {window, heads, head_dim, cache.getElement(), {}});
    if (std::find(it->layers.begin(), it->layers.end(), layer) == it->layers.end()) it->layers.push_back(layer);
  });
  return groups;
}

size_t group_of(const std::vector<KvGroup>& groups, int64_t layer) {
  for (size_t i = 0; i < groups.size(); ++i)
    if (std::find(groups[i].layers.begin(), groups[i].layers.end(), layer) != groups[i].layers.end()) return i;
  return 0;
}

}  // namespace llmc
