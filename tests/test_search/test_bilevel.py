"""The second order compared with a closed form, and with the mistakes of published implementations."""

import copy

import pytest
import torch

from mmhoga.search import SearchModel, bilevel


class Quadratic:
    """L_train = w'Aw/2 + w'Ba + b'w, L_val = (w-c)'C(w-c)/2 + a'Dw + a'Ea/2; w in two tensors, a in two."""

    sizes = (3, 4)

    def __init__(self, groups=None, momentum=True, **sgd):
        generator = torch.Generator().manual_seed(1)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        n, m = sum(self.sizes), 5
        self.A, self.B, self.b = normal(n, n), normal(n, m), normal(n)
        self.A, self.C = (matrix @ matrix.T for matrix in (self.A, normal(n, n)))
        self.c, self.D, self.E = normal(n), normal(m, n), normal(m, m)
        self.E = self.E + self.E.T
        self.weights = [normal(size).requires_grad_() for size in self.sizes]
        self.alphas = [normal(2).requires_grad_(), normal(3).requires_grad_()]
        groups = groups or [{}, {}]
        settings = dict(lr=0.07, momentum=0.9, weight_decay=0.03, **sgd) if momentum else dict(lr=0.07, **sgd)
        self.optimizer = torch.optim.SGD([dict(params=[w], **g) for w, g in zip(self.weights, groups)], **settings)
        if momentum:
            for _ in range(2):  # fills the momentum buffers
                self.step()

    def w(self):
        return torch.cat(list(self.weights))

    def a(self):
        return torch.cat(list(self.alphas))

    def train_loss(self):
        w, a = self.w(), self.a()
        return w @ self.A @ w / 2 + w @ self.B @ a + self.b @ w

    def val_loss(self):
        w, a = self.w() - self.c, self.a()
        return w @ self.C @ w / 2 + a @ self.D @ self.w() + a @ self.E @ a / 2

    def step(self):
        self.optimizer.zero_grad()
        self.train_loss().backward(inputs=self.weights)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def per_weight(self, key):
        return torch.cat([w.new_full((len(w),), g[key]) for w, g in zip(self.weights, self.optimizer.param_groups)])

    def solution(self):
        """The gradient in closed form, from the matrices."""
        with torch.no_grad():
            w, a, xi = self.w(), self.a(), self.per_weight('lr')
            step = self.A @ w + self.B @ a + self.b + self.per_weight('weight_decay') * w
            state = self.optimizer.state
            if any('momentum_buffer' in state[x] for x in self.weights):
                step += self.per_weight('momentum') * torch.cat([state[x]['momentum_buffer'] for x in self.weights])
            moved = w - xi * step
            implicit = self.B.T @ (xi * (self.C @ (moved - self.c) + self.D.T @ a))
            return (self.D @ moved + self.E @ a - implicit).split([2, 3])


def second_order(problem, **kwargs):
    return bilevel.second_order(problem.train_loss, problem.val_loss, problem.alphas, problem.optimizer, **kwargs)


def check(problem, **kwargs):
    _, computed = second_order(problem, **kwargs)
    torch.testing.assert_close(computed, list(problem.solution()), rtol=0, atol=1e-8)


TWO_RATES = [dict(lr=0.05), dict(lr=0.11, momentum=0.5, weight_decay=0.2)]
NO_STEP = [dict(lr=0.0), dict(lr=0.0)]


@pytest.mark.parametrize('hessian', bilevel.HESSIANS)
@pytest.mark.parametrize('groups', [None, TWO_RATES, NO_STEP], ids=['one_rate', 'two_rates', 'no_step'])
@pytest.mark.parametrize('momentum', [True, False])
def test_second_order_in_closed_form(hessian, groups, momentum):
    check(Quadratic(groups if momentum else None, momentum), hessian=hessian)


def live_gradients(loss, inputs, loss_scale=None, *, create_graph=False):
    """MMRazor: returns the live ``.grad`` of the inputs."""
    for x in inputs:
        if x.grad is not None:
            x.grad.zero_()
    loss.backward(inputs=list(inputs))
    return [x.grad for x in inputs]


def rebinding_shift(weights, directions, scale):
    """MMRazor: rebinds the local name, so the weight does not move."""
    for weight, direction in zip(weights, directions):
        weight = weight + scale * direction


MISTAKES = {
    'the step rebinds a local': ('shift', rebinding_shift),
    'both sides are one live gradient': ('gradients', live_gradients),
    'the quotient is multiplied by eps': ('quotient', lambda p, m, eps: [(x - y) / 2.0 * eps for x, y in zip(p, m)]),
    'the sides are swapped': ('quotient', lambda p, m, eps: [(y - x) / (2 * eps) for x, y in zip(p, m)]),
    'no momentum, no weight decay': (
        'sgd_step',
        lambda optimizer, weights, slopes: ([0.07 * slope for slope in slopes], [0.07] * len(slopes)),
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_published_mistakes_fail_the_comparison(mistake, monkeypatch):
    monkeypatch.setattr(bilevel, *MISTAKES[mistake])
    with pytest.raises(AssertionError):
        check(Quadratic(), hessian='finite_difference')


def test_the_first_order_omits_the_implicit_term():
    problem = Quadratic()
    loss, computed = bilevel.first_order(problem.val_loss, problem.alphas)
    expected = problem.D @ problem.w() + problem.E @ problem.a()
    torch.testing.assert_close(torch.cat(computed), expected, rtol=0, atol=1e-10)
    assert loss.item() == problem.val_loss().item()


@pytest.mark.parametrize('sgd', [{}, dict(nesterov=True), dict(momentum=0.8, dampening=0.3)], ids=str)
@pytest.mark.parametrize('steps', [0, 3])
def test_the_virtual_step_is_the_optimizers(sgd, steps):
    weights = [torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.SGD(weights, lr=0.1, **{'momentum': 0.9, **sgd}, weight_decay=0.02)
    for _ in range(steps + 1):
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        taken, rates = bilevel.sgd_step(optimizer, weights, [weight.grad for weight in weights])
        further, _ = bilevel.sgd_step(optimizer, weights, [weight.grad + 1 for weight in weights])
        before = [weight.detach().clone() for weight in weights]
        optimizer.step()
    for weight, old, step, more, rate in zip(weights, before, taken, further, rates):
        torch.testing.assert_close(old - step, weight.detach(), rtol=0, atol=1e-14)
        torch.testing.assert_close(more - step, torch.full_like(step, rate), rtol=0, atol=1e-14)


def test_the_finite_difference_has_an_error_of_second_order():
    """On a smooth, not quadratic loss the error is not zero, and falls to a quarter when the radius is halved."""
    problem = Quadratic()
    problem.train_loss = lambda: torch.sin(problem.w() @ problem.B @ problem.a() / 10)
    _, exact = second_order(problem, hessian='exact')
    errors = []
    for radius in (0.01, 0.005):
        _, computed = second_order(problem, radius=radius)
        errors.append(max(float((f - e).abs().max()) for f, e in zip(computed, exact)))
    assert 0 < errors[0] < 1e-4
    assert 3.9 < errors[0] / errors[1] < 4.1


class TestOnASupernet:
    """The supernet with its own kernels, in training mode, in float64."""

    def problem(self, toy):
        model = SearchModel(toy()).double().train()
        torch.nn.init.normal_(model.alpha, std=0.5)
        batches = [(torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.arange(6) % 10) for _ in range(2)]
        weights = [p for p in model.parameters() if p is not model.alpha]
        optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=1e-3)
        losses = [lambda batch=batch: model(*batch, mode='loss')['loss'] for batch in batches]
        losses[0]().backward()
        optimizer.step()
        return model, optimizer, losses

    def solve(self, model, optimizer, losses, **kwargs):
        with model.differentiating_alpha() as alphas:
            return bilevel.second_order(*losses, alphas, optimizer, buffers=model.buffers(), **kwargs)[1][0]

    def test_exact_against_central_differences(self, toy):
        """The derivative of the validation loss after a real step, along a random direction."""
        model, optimizer, losses = self.problem(toy)
        exact = self.solve(model, optimizer, losses, hessian='exact')
        direction = torch.randn_like(exact)
        state = copy.deepcopy(optimizer.state_dict())
        before = {name: value.clone() for name, value in model.state_dict().items()}
        sides = []
        for eps in (1e-5, -1e-5):
            model.load_state_dict(before)
            optimizer.load_state_dict(copy.deepcopy(state))
            model.alpha.data.add_(direction, alpha=eps)
            optimizer.zero_grad()
            losses[0]().backward()
            optimizer.step()
            sides.append(losses[1]().item())
        assert (exact * direction).sum().item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5)

    def test_finite_difference(self, toy):
        """With a radius small enough to avoid the kinks of maxima and ReLUs, both forms agree."""
        model, optimizer, losses = self.problem(toy)
        exact = self.solve(model, optimizer, losses, hessian='exact')
        near = self.solve(model, optimizer, losses, radius=1e-6, frozen_weights=model.frozen_weights)
        torch.testing.assert_close(near, exact, rtol=1e-5, atol=1e-9)

    @pytest.mark.parametrize('hessian', bilevel.HESSIANS)
    def test_nothing_else_moves(self, toy, hessian):
        model, optimizer, losses = self.problem(toy)
        optimizer.zero_grad()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self.solve(model, optimizer, losses, hessian=hessian)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())

    def test_weights_come_back_when_the_loss_raises(self, toy):
        model, optimizer, losses = self.problem(toy)
        before = [p.detach().clone() for p in model.parameters()]

        def fails():
            raise RuntimeError('out of memory')

        with pytest.raises(RuntimeError, match='out of memory'):
            self.solve(model, optimizer, (losses[0], fails))
        assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before))


def test_dropout_is_the_same_on_both_sides():
    problem = Quadratic()
    plain = problem.train_loss

    def noisy():
        return plain() + (torch.rand(7, dtype=torch.float64) * problem.w()).sum() * problem.a().sum()

    problem.train_loss = noisy
    state = torch.get_rng_state()
    results = []
    for hessian in bilevel.HESSIANS:
        torch.set_rng_state(state)
        results.append(second_order(problem, hessian=hessian)[1])
    torch.testing.assert_close(*results, rtol=0, atol=1e-8)


def test_a_scaled_loss_gives_the_same():
    problem = Quadratic()
    for hessian in bilevel.HESSIANS:
        check(problem, hessian=hessian, loss_scale=torch.tensor(1024.0))


def test_unused_weights_and_alphas():
    """A weight that the training loss does not use stays, despite weight decay; an unused alpha gets zeros."""
    problem = Quadratic()
    idle = torch.ones(2, dtype=torch.float64, requires_grad=True)
    problem.optimizer.add_param_group(dict(params=[idle], weight_decay=1.0))
    problem.alphas.append(torch.ones(2, dtype=torch.float64, requires_grad=True))
    problem.a = lambda: torch.cat(problem.alphas[:2])
    expected = [*problem.solution(), torch.zeros(2, dtype=torch.float64)]
    for hessian in bilevel.HESSIANS:
        torch.testing.assert_close(second_order(problem, hessian=hessian)[1], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ('optimizer', 'kwargs', 'error', 'message'),
    [
        (torch.optim.Adam, {}, TypeError, "not Adam: use optimizer=dict\\(type='SGD'"),
        (torch.optim.SGD, dict(hessian='gauss'), ValueError, "finite_difference, exact, not 'gauss'"),
    ],
)
def test_unsupported_optimizer_and_hessian(optimizer, kwargs, error, message):
    problem = Quadratic()
    problem.optimizer = optimizer(problem.weights, lr=0.1)
    with pytest.raises(error, match=message):
        second_order(problem, **kwargs)
