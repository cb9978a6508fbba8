// Lists of numbers that are constants of the language, so that each can be an immediate of an instruction:
// `template <u32... I> f(Indices<I...>)` called with `Upto<4>{}` has I = 0, 1, 2, 3, for fold expressions.
#pragma once
#include "types.cuh"

template <u32... I>
struct Indices {};

template <u32 COUNT, u32... I>
struct IndicesUpto : IndicesUpto<COUNT - 1, COUNT - 1, I...> {};

template <u32... I>
struct IndicesUpto<0, I...> {
  using type = Indices<I...>;
};

template <u32 COUNT>
using Upto = typename IndicesUpto<COUNT>::type;
